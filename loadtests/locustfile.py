"""Load on the shop and on the adapter; what runs where is the config file's business.

    locust -f loadtests/locustfile.py --headless -u 200 -r 20 -t 60s
    locust -f loadtests/locustfile.py --headless -u 50 -r 20 --shape outage --architecture synchronous
    STREAMADAPTER_CONFIG=kafka.toml locust -f loadtests/locustfile.py --headless -u 50 --users-of broker -t 60s

Unless --host names one, a shop is started for the test and stopped after it. See docs/load.md.
"""

from __future__ import annotations

from load.broker import BrokerUser
from load.options import add_options
from load.session import session
from load.shapes import Load
from load.users import ChatUser, LocationUser, OrderUser
from locust import events

__all__ = ["BrokerUser", "ChatUser", "Load", "LocationUser", "OrderUser"]

events.init_command_line_parser.add_listener(add_options)
session.listen(events)
