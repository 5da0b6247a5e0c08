"""Makes `engine_toys` importable by its name, here and in the workers (they are given this process's import path)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
