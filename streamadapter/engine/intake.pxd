# Types for the compiled module: see "Compiled modules" in docs/design.md.

cimport cython
from streamadapter.engine.produce_args cimport is_plain
from streamadapter.engine.queues cimport Queue, Room
from streamadapter.engine.routes cimport Route

cdef class Intake:
    cdef public object _sender
    cdef public object _lock
    cdef object _acquire
    cdef object _release
    cdef public Room _room
    cdef public dict _routes
    cdef public object _reports
    cdef public object _errors
    cdef public object _place
    cdef public object _default_callback
    cdef public Py_ssize_t _max_size
    cdef public bint _closed
    cdef public object _closer

    @cython.locals(taken=Py_ssize_t, start=Py_ssize_t)
    cpdef produce_batch(self, object topic, object messages, object partition=*, object callback=*, object on_delivery=*)

    cdef int _add_message(self, Route route, dict message, object partition, object report, object born) except -1

    @cython.locals(size=Py_ssize_t, room=Room, queue=Queue)
    cdef int _add(
        self,
        Route route,
        object value,
        object key,
        object partition,
        object callback,
        object timestamp,
        object headers,
        object born,
    ) except -1
