"""How the facades come by a client, and how they hand their calls on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamadapter.properties import Role


def open_client(role: Role, conf: Mapping[str, Any] | None, kwargs: Mapping[str, Any]) -> Any:
    """See `registry.open_client`."""
    # Imported by the first client: the table of properties, entry points (and with them email and zipfile) and the
    # backend interface take more time than all else that is ours in `import streamadapter`.
    from streamadapter import registry

    return registry.open_client(role, conf, kwargs)


def adopt(facade: object, base: type, client: object, *names: str) -> None:
    """Make these methods of the client the facade's own, but for those that a subclass of `base` overrides.

    For methods called once a record, where one more call would be felt (`python loadtests/micro.py` prints what it
    costs, `python loadtests/kafka_cost.py` what is left on Kafka). All others are plain delegation.
    """
    for name in names:
        if getattr(type(facade), name) is getattr(base, name):
            setattr(facade, name, getattr(client, name))
