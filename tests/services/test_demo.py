"""`streamstore demo`: ends by itself, and leaves nothing behind in any case."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 120


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for left-over processes in /proc")
@pytest.mark.parametrize("interrupted", [False, True])
def test_the_demo_ends_by_itself_or_when_interrupted_and_leaves_nothing(
    tmp_path: Path, interrupted: bool
) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    demo = subprocess.Popen(
        [sys.executable, "-m", "streamstore", "demo"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    if interrupted:
        for line in demo.stdout:
            if line.startswith("SIGTERM to billing"):
                demo.send_signal(signal.SIGINT)
                break
    output, _ = demo.communicate(timeout=SECONDS)

    assert demo.returncode == (130 if interrupted else 0), output
    if not interrupted:
        assert "billing has caught up" in output
        assert "confirmations sent" in output
        assert "51440.987" in output
    assert list(tmp_path.iterdir()) == []
    assert _processes_with(str(tmp_path)) == []


def _processes_with(text: str) -> list[str]:
    """Command lines of processes that have the text in their arguments or environment."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            seen = (directory / "cmdline").read_bytes() + (directory / "environ").read_bytes()
        except OSError:  # it has ended, or is not ours
            continue
        if text.encode() in seen:
            found.append((directory / "cmdline").read_text())
    return found
