# Types for the compiled module: see "Compiled modules" in docs/design.md.

cimport cython

cdef class Chunk:
    cdef public object partition
    cdef public long long version
    cdef public object log_id
    cdef public Py_ssize_t size
    cdef public Py_ssize_t count
    cdef object _stored
    cdef object _batch
    cdef list _messages
    cdef long long _base
    cdef object _epoch
    cdef Py_ssize_t _next
    cdef Py_ssize_t _stop

    @cython.locals(start=Py_ssize_t, stop=Py_ssize_t)
    cpdef list take(self, Py_ssize_t limit, bint store_offsets)
    cpdef object next(self, bint store_offsets)
