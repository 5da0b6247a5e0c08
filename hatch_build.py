"""Compiles the search kernels when the package is built; without a C compiler the wheel is pure Python, and slower."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path("src/lightmeter/search/native")
TARGET = Path("src/lightmeter/search/_kernels.so")
KERNELS = ("granular.c", "three_way.c")
FLAGS = ["-O3", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
WIDE = ["-mavx2", "-mfma", "-DWIDE"]


class KernelsHook(BuildHookInterface):
    """Plain C, no headers of Python, so that one wheel serves every version of it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile in place (an editable installation reads it there) and take the result along."""
        root = Path(self.root)
        if self.target_name != "wheel" or not _compiled(root):
            return
        build_data["artifacts"].append(str(TARGET))
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def _compiled(root: Path) -> bool:
    """Whether the library was made: each kernel once for any processor and, on x86, once for AVX2."""
    (root / TARGET).unlink(missing_ok=True)
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        return False
    compile_ = [*compiler.split(), *FLAGS]
    with tempfile.TemporaryDirectory() as folder:
        objects = _objects(root, compile_, f"{folder}/plain")
        if not objects:
            return False
        x86 = platform.machine().lower() in ("x86_64", "amd64")
        wide = _objects(root, [*compile_, *WIDE], f"{folder}/wide") if x86 else []
        link = [*compile_, *(["-DWITH_AVX2"] if wide else []), str(root / NATIVE / "dispatch.c"), *objects, *wide]
        if not _ran([*link, "-shared", "-o", f"{folder}/kernels.so", "-lm"]):
            return False
        shutil.copyfile(f"{folder}/kernels.so", root / TARGET)
    return True


def _objects(root: Path, compile_: list[str], stem: str) -> list[str]:
    """All kernels compiled one way, or none."""
    made = {name: f"{stem}.{name}.o" for name in KERNELS}
    good = all(_ran([*compile_, "-c", str(root / NATIVE / name), "-o", made[name]]) for name in KERNELS)
    return list(made.values()) if good else []


def _ran(command: list[str]) -> bool:
    return subprocess.run(command, check=False).returncode == 0
