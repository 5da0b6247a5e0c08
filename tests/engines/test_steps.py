"""Steps that can be stopped anywhere: a toy that sums up its step numbers."""

import os
import signal

import numpy as np
import pytest

from lightmeter.engines.checkpoints import Checkpoints
from lightmeter.engines.steps import take_steps
from lightmeter.engines.stop import Stop
from lightmeter.errors import InvalidValueError, RejectedFileError


class Sum:
    def __init__(self, dies_at=None, signalled_at=None):
        self.total, self.seen, self.dies_at, self.signalled_at = np.zeros(1), [], dies_at, signalled_at

    def step(self, number):
        self.seen.append(number)
        if number == self.dies_at:
            raise OSError("killed")
        if number == self.signalled_at:
            os.kill(os.getpid(), signal.SIGINT)
        self.total = self.total * 2 + number

    def state(self):
        return {"total": self.total}

    def restore(self, arrays, steps):
        self.total = arrays["total"].copy()


def run(learner, folder, steps=6, every_s=0.0, tell=None, **about):
    checkpoints = Checkpoints(folder, {"of": "sum", **about}, every_s)
    with Stop() as stop:
        take_steps(learner, steps, stop, checkpoints=checkpoints, tell=tell)
    return float(learner.total[0])


@pytest.fixture
def whole():
    learner = Sum()
    with Stop() as stop:
        take_steps(learner, 6, stop)
    return float(learner.total[0])


def test_killed_and_run_again(tmp_path, whole):
    with pytest.raises(OSError, match="killed"):
        run(Sum(dies_at=3), tmp_path)
    again, told = Sum(), []
    assert run(again, tmp_path, tell=lambda done, began: told.append((done, began))) == whole
    assert again.seen[-1] == 5
    assert again.seen[0] == told[0][1] > 0
    assert told[-1] == (6, again.seen[0])
    third = Sum()
    assert run(third, tmp_path) == whole
    assert third.seen == [], "a finished run is read"


def test_ctrl_c_keeps_the_step_in_flight(tmp_path, whole):
    first = Sum(signalled_at=2)
    with pytest.raises(KeyboardInterrupt):
        run(first, tmp_path, every_s=1e6)
    assert first.seen == [0, 1, 2]
    second = Sum()
    assert run(second, tmp_path, every_s=1e6) == whole
    assert second.seen == [3, 4, 5]


def test_another_run_is_refused(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(Sum(signalled_at=2), tmp_path)
    with pytest.raises(InvalidValueError, match="got one whose of is sum, not product"):
        run(Sum(), tmp_path, of="product")
    with pytest.raises(RejectedFileError, match="within 2 steps, got 3"):
        run(Sum(), tmp_path, steps=2)
