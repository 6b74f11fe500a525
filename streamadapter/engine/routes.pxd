# Types for the compiled module: see "Compiled modules" in docs/design.md.

cdef class Route:
    cdef public object name
    cdef public object info
    cdef public Py_ssize_t count
    cdef public list queues
    cdef public bint missing
    cdef public bint stale
    cdef object _routing
    cdef double _since
    cdef object _sticky
    cdef dict _waiting
