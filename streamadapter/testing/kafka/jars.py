"""Apache Kafka's jars: which version, where they are, how they get there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from streamadapter.testing.kafka.locks import locked

LIBS_VARIABLE = "STREAMADAPTER_KAFKA_LIBS"
"""Environment variable: a directory that has Kafka's jars already, `libs` of a download for example."""
HOME = Path(".kafka")
"""Where jars, data and logs are by default, from the working directory."""
MAVEN_TIMEOUT_S = 600.0
_POM = Path(__file__).with_name("pom.xml")


def version() -> str:
    """The version that `pom.xml` pins."""
    found = re.search(r"<kafka\.version>(.+)</kafka\.version>", _POM.read_text())
    if found is None:
        raise ValueError(f"{_POM} does not set kafka.version")
    return found[1]


def java() -> str:
    """Path of the Java that runs the broker: JAVA_HOME's, else PATH's. FileNotFoundError if there is none."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if found is None:
        raise FileNotFoundError("no java in JAVA_HOME or on PATH: install a Java runtime, 17 or newer")
    return found


def locate(home: Path = HOME) -> Path:
    """The directory of the jars. FileNotFoundError, which says what to do, if they are not there."""
    directory = _libs(home)
    if not any(directory.glob("kafka_2.13-*.jar")):
        raise FileNotFoundError(
            f"no Apache Kafka in {directory}: run `python -m streamadapter.testing.kafka install`, "
            f"or set {LIBS_VARIABLE} to a directory that has its jars"
        )
    return directory


def install(home: Path = HOME) -> Path:
    """Resolve the jars from Maven Central unless they are there; returns their directory.

    Any number of processes may call it at once. Raises FileNotFoundError without Maven, RuntimeError with Maven's
    words if it fails, TimeoutError if somebody else's installation takes too long.
    """
    directory = _libs(home)
    if directory.exists() or LIBS_VARIABLE in os.environ:
        return locate(home)
    maven = shutil.which("mvn")
    if maven is None:
        raise FileNotFoundError("no mvn on PATH: install Maven, to resolve Apache Kafka from Maven Central")
    home = home.absolute()  # Maven takes a relative path from the pom's directory
    home.mkdir(parents=True, exist_ok=True)
    with locked(home / "install.lock", MAVEN_TIMEOUT_S), tempfile.TemporaryDirectory(dir=home) as scratch:
        if not directory.exists():
            _resolve(maven, Path(scratch) / "libs")
            (Path(scratch) / "libs").rename(
                directory
            )  # all of them at once: half an installation never shows
    return locate(home)


def _libs(home: Path) -> Path:
    given = os.environ.get(LIBS_VARIABLE)
    return Path(given).absolute() if given else home.absolute() / f"libs-{version()}"


def _resolve(maven: str, directory: Path) -> None:
    command = [maven, "-q", "-B", "-f", str(_POM), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    try:
        done = subprocess.run(  # noqa: S603  Maven and our own pom.xml
            [*command, f"-DoutputDirectory={directory}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=MAVEN_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"Maven did not end within {MAVEN_TIMEOUT_S:.0f} s") from None
    if done.returncode != 0:
        raise RuntimeError(f"Maven could not resolve Apache Kafka {version()}:\n{done.stdout[-2000:]}")
