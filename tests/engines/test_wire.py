import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.engines.attempt import check_value
from lightmeter.engines.wire import Frames, pack, unpack_plain
from lightmeter.errors import InvalidValueError, UnsafeFileError

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(messages=st.lists(plain, max_size=4), cut=st.integers(1, 40))
def test_frames_survive_any_cut(messages, cut):
    stream, frames, got = b"".join(map(pack, messages)), Frames(), []
    for start in range(0, len(stream), cut):
        got += [unpack_plain(body) for body in frames.feed(stream[start : start + cut])]
    assert got == messages


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8", "bool", "<U5"])
def test_arrays_and_scalars_pass(dtype):
    array = np.zeros((2, 3), dtype)
    (body,) = Frames().feed(pack([array, array.T, array[0, 0], array[:0]]))
    for sent, got in zip([array, array.T, array[0, 0], array[:0]], unpack_plain(body), strict=True):
        assert got.dtype == sent.dtype
        np.testing.assert_array_equal(got, sent)


class Evil:
    def __reduce__(self):
        return os.system, ("exit 3",)


@pytest.mark.parametrize("value", [Evil(), Path(), np.array([Evil()], object), print])
def test_a_worker_that_was_taken_over_runs_nothing_here(value):
    with pytest.raises(UnsafeFileError, match="a worker may send"):
        unpack_plain(pickle.dumps(value, protocol=5))


@pytest.mark.parametrize("value", [{"a": [1, "x", b"y", None, 2.0, {"b": np.float32(1)}]}, np.zeros(3), (1, 2)])
def test_plain_values_are_taken(value):
    check_value("k", value)


@pytest.mark.parametrize("value", [{1, 2}, Path(), np.array([None]), lambda: 0, 1j, [{"deep": object()}]])
def test_other_values_are_named(value):
    with pytest.raises(InvalidValueError, match=r"k.* must be a number, text, bytes, None, an array"):
        check_value("k", value)
