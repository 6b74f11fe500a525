"""Order files, an independent reading of them, and shops to replay them in."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from streamstore.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

REAL_DAYS = Path(__file__).parents[3] / "shared" / "data" / "online_retail"


@pytest.fixture(params=["2010-12-01.csv", "2010-12-06.csv"])
def real_day(request: pytest.FixtureRequest) -> Path:
    """A day of real orders, which is not part of the repository."""
    path = REAL_DAYS / request.param
    if not path.is_file():
        reason = f"no {path}: it needs the two days of the UCI data set beside the repository"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture
def read_independently() -> Callable[[Path], dict[str, Any]]:
    """Reads a file without a bad row as anybody would, sharing no code with the services."""
    return _read_independently


def _read_independently(path: Path) -> dict[str, Any]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    invoices: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        invoices[row["InvoiceNo"]].append(row)
    by_country: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        by_country[row["Country"]] += int(row["Quantity"]) * Decimal(row["UnitPrice"])
    cancellations = sum(number.startswith("C") for number in invoices)
    with_customer = sum(any(row["CustomerID"] for row in order) for order in invoices.values())
    revenue = sum((int(row["Quantity"]) * Decimal(row["UnitPrice"]) for row in rows), Decimal(0))
    return {
        "rows": len(rows),
        "rows_rejected": 0,
        "orders": len(invoices) - cancellations,
        "cancellations": cancellations,
        "inventory": {"orders": len(invoices), "units": sum(int(row["Quantity"]) for row in rows)},
        "billing": {
            "invoices": len(invoices) - cancellations,
            "credit_notes": cancellations,
            "total": str(revenue),
        },
        "notification": {"sent": with_customer, "skipped_no_customer": len(invoices) - with_customer},
        "analytics": {
            "orders": len(invoices),
            "revenue": str(revenue),
            "revenue_by_country": {country: str(amount) for country, amount in by_country.items()},
        },
        "lag": 0,
    }


@dataclass(frozen=True)
class Shop:
    """A config file in a directory of its own, which this process and its children use."""

    backend: str
    config: Path
    settings: Settings


@pytest.fixture
def open_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Shop]:
    """Makes a shop on a backend; `url` of the servers that are not started by their clients."""

    def opened(backend: str, url: str = "", **streamstore: object) -> Shop:
        session_ms = 6000 if backend == "kafka" else 2000  # Kafka's brokers take no less
        table = {"data_dir": "shop", "session_timeout_ms": session_ms, "patience_seconds": 60} | streamstore
        config = tmp_path / "streamadapter.toml"
        config.write_text(
            f'backend = "{backend}"\n'
            + (f'[redis]\nurl = "{url}"\n' if backend == "redis" else "")
            + (f'[kafka]\n"bootstrap.servers" = "{url}"\n' if backend == "kafka" else "")
            + f'[embedded]\npath = "log"\n[memory]\nname = "{tmp_path.name}"\n[streamstore]\n'
            + "".join(
                f"{name} = {value!r}\n" if isinstance(value, int) else f'{name} = "{value}"\n'
                for name, value in table.items()
            )
        )
        monkeypatch.setenv("STREAMADAPTER_CONFIG", str(config))
        return Shop(backend, config, load_settings(table, tmp_path))

    return opened


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a shop that needs no server."""
    return load_settings({"data_dir": "shop"}, tmp_path)
