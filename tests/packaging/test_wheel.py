"""What is installed is what was written: every package, its data files, its entry points, its types."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from streamadapter.backend import Backend

ROOT = Path(__file__).parents[2]
PACKAGES = [
    path.parent
    for folder in ("streamadapter", "backends/*", "services/*")
    for path in ROOT.glob(f"{folder}/__init__.py")
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in a wheel built from this tree."""
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=ROOT,
        env={**os.environ, "STREAMADAPTER_COMPILE": "0"},  # the other kind: test_compiled.py
        check=True,
        capture_output=True,
        timeout=120,
    )
    (built,) = target.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_there_are_packages_to_look_for() -> None:
    assert {p.name for p in PACKAGES} >= {
        "streamadapter",
        "streamadapter_redis",
        "streamadapter_embedded",
        "streamstore",
    }


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_every_file_of_a_package_is_in_the_wheel(package: Path, wheel: set[str]) -> None:
    expected = {
        str(path.relative_to(package.parent))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected - wheel == set()
    assert f"{package.name}/py.typed" in wheel


def test_no_generic_folder_is_in_the_wheel(wheel: set[str]) -> None:
    # Two wheels that both ship "backends" or "tests" overwrite each other in site-packages without a word.
    assert {name.split("/")[0] for name in wheel} & {"backends", "services", "tests", "loadtests"} == set()


def test_every_backend_entry_point_is_a_backend() -> None:
    found = {point.name: point.load() for point in entry_points(group="streamadapter.backends")}

    assert found.keys() >= {"redis", "memory", "embedded"}
    assert all(isinstance(backend, Backend) for backend in found.values())


def test_import_loads_little_beyond_what_its_public_types_come_from() -> None:
    # Whatever else a client needs is imported when the first is made: the engine, a backend, pydantic, entry points.
    code = """
import sys, confluent_kafka.admin, msgspec
before = set(sys.modules)
import streamadapter
print(*set(sys.modules) - before)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(result.stdout.split())

    assert {name for name in loaded if name.partition(".")[0] != "streamadapter"} == set()
    assert not loaded & {f"streamadapter.{name}" for name in ("backend", "config", "engine", "registry")}
