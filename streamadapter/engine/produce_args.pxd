# Types for the compiled module: see "Compiled modules" in docs/design.md.

cimport cython

@cython.locals(position=Py_ssize_t)
cpdef check_messages(object messages)

cpdef bint is_plain(object message, object value, object key) except -1
