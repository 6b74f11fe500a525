"""The command line options that the load tests add to Locust's own."""

from __future__ import annotations

import argparse
from typing import Any

KINDS = ("order", "location", "chat", "broker")
SHAPES = ("steady", "ramp", "flash", "outage")


def add_options(parser: Any) -> None:
    """For Locust's event `init_command_line_parser`. Names, defaults and texts also show in its web page."""
    group = parser.add_argument_group("the shop")
    group.add_argument(
        "--shop-config", default="", help="Config file; default: $STREAMADAPTER_CONFIG, as usual."
    )
    group.add_argument("--architecture", choices=("events", "synchronous"), default="events")
    group.add_argument(
        "--shop-dir", default="", help="The shop's data and logs, kept; default: a temporary one, removed."
    )
    group.add_argument(
        "--shop-instances", default="", help="Instances of services, such as order=2,billing=3."
    )
    group = parser.add_argument_group("the load")
    group.add_argument("--shape", choices=SHAPES, default="steady")
    group.add_argument(
        "--pace", type=float, default=1.0, help="Requests a second of each user; 0: one after the other."
    )
    group.add_argument("--orders", type=int, default=0, help="Stop after so many acknowledged orders.")
    group.add_argument("--outage-service", default="inventory", help="Who is stopped in the shape outage.")
    group.add_argument("--outage-start", type=float, default=45, help="Seconds after the load began.")
    group.add_argument("--outage-seconds", type=float, default=30)
    group.add_argument("--result", default="", help="Write the figures into this JSON file.")
    parser.add_argument(
        "--users-of",
        default="order=7,location=1,chat=1,broker=1",
        help="Weights, such as order=9,chat=1.",
        include_in_web_ui=False,  # Locust asks for its users once, when it starts
    )
    # Not for people: what the process that started the shop tells those that only load it.
    for hidden in ("--shop-urls", "--shop-environment", "--journals"):
        parser.add_argument(hidden, default="", help=argparse.SUPPRESS, include_in_web_ui=False)


def weights(text: str) -> dict[str, int]:
    """Users by kind: ``order=9,chat`` is nine to one. Raises ValueError, in one line."""
    found = {}
    for part in filter(None, text.split(",")):
        kind, _, weight = part.strip().partition("=")
        if kind not in KINDS:
            raise ValueError(f"--users-of: no users of {kind!r}; there are {', '.join(KINDS)}")
        if not (weight or "1").isdecimal():
            raise ValueError(f"--users-of: {kind}={weight} is not a number")
        found[kind] = int(weight or 1)
    if not any(found.values()):
        raise ValueError("--users-of: nobody is left")
    return found
