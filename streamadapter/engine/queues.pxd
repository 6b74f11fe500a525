# Types for the compiled module: see "Compiled modules" in docs/design.md.

cimport cython

cpdef Py_ssize_t record_size(object value, object key, object headers) except -1

cdef class Records:
    cdef public list values
    cdef public list keys
    cdef public list timestamps
    cdef public list headers
    cdef public list callbacks
    cdef public list born
    cdef public Py_ssize_t size

cdef class Room:
    cdef public long long records
    cdef public long long size
    cdef public long long max_records
    cdef public long long max_size

cdef class Queue:
    cdef public object topic
    cdef public Py_ssize_t partition
    cdef public Py_ssize_t batch_size
    cdef public Py_ssize_t batch_messages
    cdef public bint blocked
    cdef public object full
    cdef public Records open
    cdef public object retry
    cdef public object under_way
    cdef public long long epoch
    cdef public long long sequence
    cdef public Py_ssize_t attempts
    cdef public double not_before

    @cython.locals(records=Records, values=list, count=Py_ssize_t)
    cpdef bint add(
        self, object value, object key, object timestamp, object headers, object callback, object born, Py_ssize_t size
    ) except -1
