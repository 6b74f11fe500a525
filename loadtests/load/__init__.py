"""Load tests of the shop and of the adapter. `locustfile.py` is for Locust, `run.py` for `make load`."""
