"""Hundreds of broken checkpoints and arrays, seeded: each gives arrays or a known error, in little time and memory."""

import random
import tracemalloc

import numpy as np
import pytest

from lightmeter.assets.arrays import read_array
from lightmeter.assets.checkpoint import read_checkpoint
from lightmeter.errors import LightmeterError


def mutated(data: bytes, dice: random.Random) -> bytes:
    """One to four changes: a bit, a byte, a cut, a copy, an insertion, an extreme number."""
    made = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(made))
        kind = dice.randrange(6)
        if kind == 0:
            made[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            made[at] = dice.randrange(256)
        elif kind == 2:
            del made[at : at + dice.randint(1, 16)]
        elif kind == 3:
            made[at:at] = made[dice.randrange(len(made)) :][: dice.randint(1, 32)]
        elif kind == 4:
            made[at:at] = dice.randbytes(dice.randint(1, 4))
        else:
            made[at : at + 4] = dice.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\0\0\0"])
        if not made:
            return b"\0"
    return bytes(made)


@pytest.fixture
def originals(make, tmp_path):
    from safetensors.numpy import save

    tree = {
        "a": make.tensor(),
        "more": [make.tensor("HalfStorage", "1", 4, size=(2, 2), stride=(1, 2)), 5, ("x", None)],
        "b": make.tensor("BFloat16Storage", "2", 3, offset=1, size=(2,), stride=(1,)),
    }
    storages = {"0": bytes(range(24)), "1": bytes(range(8)), "2": bytes(range(6))}
    np.save(tmp_path / "a.npy", np.arange(12.0).reshape(3, 4))
    return {
        "zip": make.zipped(tree, storages),
        "legacy": make.legacy(tree, [("0", 6, storages["0"]), ("1", 4, storages["1"]), ("2", 3, storages["2"])]),
        "safetensors": save({"a": np.arange(6.0), "b": np.zeros((2, 3), np.int8)}),
        "npy": (tmp_path / "a.npy").read_bytes(),
    }


def attack(data: bytes, saved, read, *, count: int, seed: int) -> int:
    dice = random.Random(seed)
    refused = 0
    for _ in range(count):
        path = saved(mutated(data, dice))
        try:
            got = read(path)
        except LightmeterError:
            refused += 1
        else:
            arrays = got.values() if isinstance(got, dict) else [got]
            for array in arrays:
                assert isinstance(array, np.ndarray)
                array.tobytes()  # touches every byte: a view that leaves its storage would crash here
    return refused


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "npy"])
@pytest.mark.parametrize("count", [200, pytest.param(20_000, marks=pytest.mark.slow)])
def test_mutants_are_read_or_refused(originals, saved, kind, count):
    read = read_array if kind == "npy" else read_checkpoint
    read(saved(originals[kind]))  # the original is good
    tracemalloc.start()
    refused = attack(originals[kind], saved, read, count=count, seed=count)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused > count // 10  # the mutations do bite
    assert peak_bytes < 80 << 20  # the spare memory for copies is 64 MB
