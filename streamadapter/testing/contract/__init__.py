"""The contract suite: what a program may expect of every backend, as scenarios that any backend can be put through.

From outside, against a running server of an installed backend (`pip install streamadapter[testing]`):

    pytest --pyargs streamadapter.testing.contract --backend-url redis://localhost:6379/0

From a backend's own tests: one fixture that yields a `Subject`, and the scenarios. With a server that the
scenarios may kill and reach through a proxy, those about faults run too:

    # tests/conftest.py
    @pytest.fixture
    def subject(my_server):
        return Subject(my_server.url, own_server=start_one)

    # tests/test_contract.py
    from streamadapter.testing import contract
    globals().update(contract.scenarios())

What a backend cannot do stands in its `streamadapter.backend.Features` literal, and nowhere else: a scenario asks
`lab.features` and either expects something else or is skipped with the reason. Apache Kafka is right: every scenario
was first run against a real broker, on confluent_kafka's own client.

The file map: `subject.py` what is under test, `lab.py` clients and waiting, `member.py` a consumer in a process of its
own, `rebalances.py` and `offsets.py` what scenarios about groups and about offsets share, `plugin.py` options, fixtures
and the report, `test_*.py` the scenarios by area.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

from streamadapter.testing.contract.subject import OwnServer, Subject

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OwnServer", "Subject", "area_and_title", "scenarios"]


def scenarios() -> dict[str, Callable[..., Any]]:
    """All scenarios by name, for the globals of a test module. RuntimeError if two have the same name."""
    found: dict[str, Callable[..., Any]] = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"{__name__}.{path.stem}")
        for name, value in vars(module).items():
            if name.startswith("test_") and isinstance(value, FunctionType):
                if name in found:
                    raise RuntimeError(f"two scenarios are called {name}; one is in {path}")
                found[name] = value
    return found


def area_and_title(scenario: Callable[..., Any]) -> tuple[str, str]:
    """As reports name it: ("publish", "null value is not an empty value")."""
    area = scenario.__module__.rpartition(".test_")[2]
    return area.replace("_", " "), scenario.__name__.removeprefix("test_").replace("_", " ")
