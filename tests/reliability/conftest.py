"""Makes `attack` and the makers of hostile files importable by their names."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "media")]
pytest.register_assert_rewrite("attack", "sieges")
