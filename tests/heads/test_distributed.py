"""Two processes that learn one network give what one process gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.heads.classifier import Classifier
from lightmeter.heads.distributed import _share, fit_net_together
from lightmeter.heads.moe import Moe
from lightmeter.heads.net_head import net_head
from lightmeter.heads.training import fit_net

SCRIPT = Path(__file__).with_name("together_script.py")
sys.path.insert(0, str(SCRIPT.parent))

from together_script import TRAINING, examples  # noqa: E402


def test_outside_torchrun_one_sentence_says_how():
    with pytest.raises(InvalidValueError, match="processes must be started together: use `torchrun"):
        fit_net_together(Moe(), examples("features"), training=TRAINING)


def test_shares_of_a_batch_are_the_batch():
    whole, rows = examples("features"), np.array([5, 3, 60, 7, 0, 1])
    parts = [_share(whole, rank, 2).batch(rows) for rank in (0, 1)]
    batch = whole.batch(rows)
    for at, part in enumerate(parts):
        np.testing.assert_array_equal(part.values["visual"], batch.values["visual"][at::2])
        np.testing.assert_array_equal(part.labels.dense(), batch.labels.dense()[at::2])


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["lstm/cells=16,layers=2,experts=2", "moe/experts=2"])
def test_two_processes_learn_what_one_learns(tmp_path, spec):
    path = os.pathsep.join(entry for entry in sys.path if entry)
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    command += [
        "--master-port",
        str(29_500 + os.getpid() % 1000),
        str(SCRIPT),
        spec,
        str(tmp_path),
        str(tmp_path / "run"),
    ]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    head = net_head(spec)
    whole = examples(head.takes[0])
    batch = whole.batch(np.arange(64))
    first, second = (Classifier.load(tmp_path / name) for name in "01")
    for name, array in first.parts[0].arrays.items():
        np.testing.assert_array_equal(array, second.parts[0].arrays[name], err_msg="all end with the same")
    alone = fit_net(head, whole, training=TRAINING, seed=1)
    np.testing.assert_allclose(first.scores(batch), alone.scores(batch), atol=1e-4)
    fresh = fit_net(head, whole, training=TRAINING, seed=2)
    assert np.abs(fresh.scores(batch) - alone.scores(batch)).max() > 1e-3, "the tolerance is not generous"
