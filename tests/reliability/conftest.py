"""Makes `attack` and the makers of hostile files importable by their names, here and in the processes that are started."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "media")]

import pytest

pytest.register_assert_rewrite("attack", "sieges")
