"""Build hook: compile what is done once a record, where there is a C compiler; without one the wheel is pure Python.

The modules stay the Python files that they are. Cython compiles them with the types that the .pxd files beside them
add, so there is one source for both. An editable install compiles nothing: an extension beside a file that is being
edited would hide the edit.

STREAMADAPTER_COMPILE=1 makes a failure to compile an error, 0 does not try.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODULES = (
    "streamadapter/codec.py",
    "streamadapter/partitioners.py",
    "streamadapter/engine/delivery.py",
    "streamadapter/engine/intake.py",
    "streamadapter/engine/produce_args.py",
    "streamadapter/engine/queues.py",
    "streamadapter/engine/reports.py",
    "streamadapter/engine/routes.py",
)
DIRECTIVES = {
    "language_level": 3,
    "annotation_typing": False,  # annotations are for mypy; a `str` in them must not refuse a subclass at run time
    "binding": True,  # functions that inspect and pickle as Python's do
}
FLAGS = ["-O2", "-g0"] if os.name == "posix" else []


class CompileHook(BuildHookInterface[Any]):
    """Adds the compiled modules to the wheel."""

    _scratch: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects the files."""
        wanted = os.environ.get("STREAMADAPTER_COMPILE", "auto")
        if wanted == "0" or version == "editable":
            return
        self._scratch = scratch = Path(tempfile.mkdtemp(prefix="streamadapter-build-"))
        try:
            built = _compile(Path(self.root), scratch)
        except Exception as error:
            if wanted == "1":
                raise
            self.app.display_warning(f"Not compiled, so it will be slower but work the same: {error}")
            return
        build_data["force_include"].update({str(scratch / name): name for name in built})
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called when the wheel is written."""
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)


def _compile(root: Path, scratch: Path) -> list[str]:
    """Compile MODULES into `scratch`; returns the extensions' paths in there. Raises whatever went wrong."""
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    shutil.copytree(
        root / "streamadapter", scratch / "streamadapter", ignore=shutil.ignore_patterns("__pycache__")
    )
    former = Path.cwd()
    os.chdir(scratch)  # Cython names modules by their paths from here
    try:
        extensions = cythonize(
            [
                Extension(name.removesuffix(".py").replace("/", "."), [name], extra_compile_args=FLAGS)
                for name in MODULES
            ],
            compiler_directives=DIRECTIVES,
            nthreads=os.cpu_count() or 1,
            quiet=True,
        )
        command = build_ext(Distribution({"ext_modules": extensions}))
        command.inplace = True
        command.parallel = os.cpu_count()
        command.ensure_finalized()
        command.run()
        return [command.get_ext_filename(extension.name) for extension in extensions]
    finally:
        os.chdir(former)
