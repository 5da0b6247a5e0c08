"""Weights and data that packages carry: found by name, checked by hash, read without running anything."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightmeter.assets.arrays import read_array
    from lightmeter.assets.checkpoint import read_checkpoint
    from lightmeter.assets.finding import AssetStatus, asset_folder, find, find_or_none, status, verify
    from lightmeter.assets.getting import add
    from lightmeter.assets.table import ASSETS, Asset

__all__ = [
    "ASSETS",
    "Asset",
    "AssetStatus",
    "add",
    "asset_folder",
    "find",
    "find_or_none",
    "read_array",
    "read_checkpoint",
    "status",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Each when it is asked for: whoever needs a file's hash or lock does not load the readers of checkpoints."""
    if name in __all__:
        for module in ("table", "finding", "getting", "arrays", "checkpoint"):
            found = importlib.import_module(f"lightmeter.assets.{module}")
            if hasattr(found, name):
                return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
