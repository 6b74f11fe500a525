"""The operator's page of a running shop: its state as JSON, its controls, and its files.

`state.py` finds out, `server.py` answers, `guard.py` keeps other sites' pages out, `proxy.py` passes requests on to
chat and delivery_tracking, `static/` is the page.
"""
