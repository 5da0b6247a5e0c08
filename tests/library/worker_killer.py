"""A stage that kills its worker; workers import it by name, so it lives beside the tests."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np

from lightmeter.engines.stage import Result


@dataclass(frozen=True)
class Killer:
    """Does to its worker what a hostile file might."""

    how: str

    @property
    def fingerprint(self):
        return "killer"

    def open(self):
        pass

    def run(self, tasks, beat):
        if self.how == "signal":
            os.abort()
        if self.how == "timeout":
            time.sleep(60)
        return [Result(task.key, {"pixels": np.zeros(1 << 30, np.uint8)}) for task in tasks]
