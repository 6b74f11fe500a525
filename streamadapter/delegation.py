"""How the facades hand their calls on."""

from __future__ import annotations


def adopt(facade: object, base: type, client: object, *names: str) -> None:
    """Make these methods of the client the facade's own, but for those that a subclass of `base` overrides.

    For methods called once a record, where one more call would be felt (`python loadtests/micro.py` prints what it
    costs, `python loadtests/kafka_cost.py` what is left on Kafka). All others are plain delegation.
    """
    for name in names:
        if getattr(type(facade), name) is getattr(base, name):
            setattr(facade, name, getattr(client, name))
