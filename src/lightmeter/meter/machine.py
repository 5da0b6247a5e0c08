"""The machine a figure was made on: processor, cores that are ours, instruction sets, memory."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

_X86 = (
    "sse4_2 avx avx2 fma f16c avx_vnni avx512f avx512bw avx512vl avx512_vnni avx512_bf16 avx512_fp16 "
    "amx_tile amx_int8 amx_bf16 amx_fp16 "
)  # fmt: skip
_ARM = "asimd asimddp asimdhp bf16 i8mm sve sve2 sme"
_FLAGS = (_X86 + _ARM).split()


def machine() -> dict[str, Any]:
    """What matters of this machine, for records and for `doctor`.

    cpu: model · cores: usable by this process (affinity and the control group's quota, at least 1; quotas may be
    fractions) · cores_online: of the whole machine · isa: instruction sets that change how fast numbers are crunched ·
    memory_bytes: the smaller of what is built in and what the control group allows · gpus: names, when torch is loaded.
    """
    cpuinfo = _cpuinfo()
    quota = cpu_quota()
    return {
        "system": f"{platform.system()} {platform.release()}",
        "arch": platform.machine(),
        "cpu": cpuinfo.get("model name") or cpuinfo.get("CPU part") or platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "cores_online": os.cpu_count() or 1,
        "cpu_quota": quota,
        "isa": isa(cpuinfo),
        "last_cache_bytes": last_cache_bytes(),
        "memory_bytes": memory_bytes(),
        "python": platform.python_version(),
        "gpus": _gpus(),
    }


def usable_cores(root: Path = Path("/")) -> int:
    """Cores this process may keep busy: its affinity, cut by the control group's quota (rounded up)."""
    affine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(root)
    return affine if quota is None else max(1, min(affine, -int(-quota // 1)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores the control group grants (2.5 means 250 ms in 100 ms), the tightest up the tree; None without a limit."""
    found: list[float] = []
    for folder in _groups(root, ""):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if quota.isdigit() and period.strip().isdigit():
            found.append(int(quota) / int(period))
    for folder in _groups(root, "cpu"):
        quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):
            found.append(int(quota) / int(period))
    return min(found) if found else None


def memory_bytes(root: Path = Path("/")) -> int | None:
    """Memory this process may use: built in, or what the control group allows when that is less."""
    lines = _text(root / "proc/meminfo").splitlines()
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:")]
    limits = [_text(folder / "memory.max") for folder in _groups(root, "")]
    limits += [_text(folder / "memory.limit_in_bytes") for folder in _groups(root, "memory")]
    found += [int(limit) for limit in limits if limit.isdigit()]
    return min(found) if found else None


def isa(cpuinfo: dict[str, str]) -> list[str]:
    """Instruction sets of interest among the flags of /proc/cpuinfo, in a fixed order."""
    have = set((cpuinfo.get("flags") or cpuinfo.get("Features") or "").split())
    return [flag for flag in _FLAGS if flag in have]


def last_cache_bytes(root: Path = Path("/")) -> int | None:
    """Size of the largest cache that core 0 sees; None where the kernel does not say."""
    sizes = []
    folder = root / "sys/devices/system/cpu/cpu0/cache"
    for path in folder.glob("index*/size") if folder.is_dir() else []:
        text = _text(path)
        factor = {"K": 1024, "M": 1 << 20}.get(text[-1:], 1)
        digits = text.rstrip("KM")
        sizes += [int(digits) * factor] if digits.isdigit() else []
    return max(sizes) if sizes else None


def _cpuinfo(root: Path = Path("/")) -> dict[str, str]:
    """The first processor of /proc/cpuinfo."""
    first = _text(root / "proc/cpuinfo").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _groups(root: Path, controller: str) -> list[Path]:
    """Folders of this process's control group, its own first, then all above ("" is the unified hierarchy, v2)."""
    base = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            top = base / names if controller and (base / names).is_dir() else base / controller
            own = top / path.strip("/")
            return [own, *[above for above in own.parents if above == top or top in above.parents]]
    return [base]


def _gpus() -> list[str]:
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is None or not cuda.is_available():
        return []
    return [cuda.get_device_name(index) for index in range(cuda.device_count())]


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
