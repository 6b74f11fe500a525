"""The wheel: compiled where there is a C compiler, and whole without one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib import util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import importlib, sys
from streamadapter import AdminClient, Consumer, Producer
from streamadapter.admin import NewTopic
for name in sys.argv[1:]:
    print(name, importlib.import_module(name).__file__)
url = {"bootstrap.servers": "memory://compiled"}
AdminClient(url).create_topics([NewTopic("t", 2)])["t"].result(20)
reports = []
with Producer(url) as producer:
    producer.produce("t", b"one", b"k", on_delivery=lambda error, message: reports.append(message.value()))
    assert producer.produce_batch("t", [{"value": b"two", "key": "k"}, {"value": "three", "key": b"k"}]) == 2
    assert producer.flush(20) == 0
assert reports == [b"one"], reports
with Consumer({**url, "group.id": "g", "auto.offset.reset": "earliest"}) as consumer:
    consumer.subscribe(["t"])
    print([message.value() for message in consumer.consume(3, 20)])
"""


def modules() -> list[str]:
    spec = util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    hook = util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    return [str(name).removesuffix(".py").replace("/", ".") for name in hook.MODULES]


def build(target: Path, compile_it: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=ROOT,
        check=False,
        env={**os.environ, "STREAMADAPTER_COMPILE": compile_it, **environment},
        capture_output=True,
        text=True,
        timeout=280,
    )


def run_from(wheel: Path, directory: Path) -> dict[str, str]:
    """What the program above says when it runs from the unpacked wheel."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *modules()],
        cwd=directory,
        check=False,
        env={**os.environ, "PYTHONPATH": str(directory)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    *places, read = done.stdout.splitlines()
    assert read == "[b'one', b'two', b'three']"
    return dict(place.split() for place in places)


def need_compiler() -> None:
    """As with servers: missing ones skip at a developer's desk and fail in CI."""
    if shutil.which("cc") and (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail("no C compiler, or no Python.h")
    pytest.skip("no C compiler, or no Python.h")


@pytest.mark.slow
def test_a_wheel_made_with_a_compiler_has_the_modules_compiled_and_they_are_used(tmp_path: Path) -> None:
    need_compiler()
    done = build(tmp_path, "1")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")

    places = run_from(wheel, tmp_path / "unpacked")

    assert not wheel.name.endswith("-none-any.whl")
    assert {name: Path(file).suffix for name, file in places.items()} == dict.fromkeys(modules(), ".so")


def test_without_a_compiler_the_wheel_is_pure_python_and_works(tmp_path: Path) -> None:
    done = build(tmp_path, "auto", CC="/bin/false")
    assert done.returncode == 0, done.stderr
    assert "Not compiled" in done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")

    places = run_from(wheel, tmp_path / "unpacked")

    assert wheel.name.endswith("-py3-none-any.whl")
    assert {Path(file).suffix for file in places.values()} == {".py"}


def test_who_asks_for_a_compiled_wheel_is_told_that_it_cannot_be(tmp_path: Path) -> None:
    done = build(tmp_path, "1", CC="/bin/false")

    assert done.returncode != 0
    assert list(tmp_path.glob("*.whl")) == []
