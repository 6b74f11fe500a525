"""One case in a process of its own: `python loadtests/bench/child.py MODULE:FUNCTION '{"url": ..., ...}'`.

The last line that it prints is the figures as JSON.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # loadtests, not loadtests/bench

import json
from importlib import import_module
from typing import Any


def call(function: str, arguments: dict[str, Any]) -> Any:
    """What the function named "module:function" returns."""
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)(**arguments)


if __name__ == "__main__":
    print(json.dumps(call(sys.argv[1], json.loads(sys.argv[2]))), flush=True)
