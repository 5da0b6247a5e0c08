"""Weights and data that packages carry: found by name, checked by hash, read without running anything."""

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
