"""The small pieces of work that the roofline times. Runs in a process of its own, with single-threaded BLAS."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from lightmeter.types import Array

Work = Callable[[], object]
_LEAST_ROUND_S = 0.01
_BLOCK = 1 << 14  # float64 values: 128 kB, so that the product of a triad stays in the core's own cache


def best_rate(works: Sequence[Work], amount: float, budget_s: float) -> float:
    """Most units a second of all threads together, over rounds that fill the budget (the best, as STREAM reports it).

    works: one a thread, each does `amount` units a call. A round starts all threads and ends with the slowest.
    """
    works[0]()  # warm-up, and how long a call takes
    start_s = time.perf_counter()
    works[0]()
    calls = max(1, round(_LEAST_ROUND_S / max(1e-7, time.perf_counter() - start_s)))
    best, rounds, end_s = 0.0, 0, time.perf_counter() + budget_s
    with ThreadPoolExecutor(len(works)) as pool:
        while rounds < 2 or time.perf_counter() < end_s:
            start_s = time.perf_counter()
            list(pool.map(lambda work: _repeat(work, calls), works))
            best = max(best, calls * len(works) * amount / max(1e-9, time.perf_counter() - start_s))
            rounds += 1
    return best


def _repeat(work: Work, calls: int) -> None:
    for _ in range(calls):
        work()


def reading(buffer: Array, threads: int) -> tuple[list[Work], float]:
    """Read every value once (a dot product of each slab with itself); amount in bytes."""
    slabs = np.split(buffer[: len(buffer) // threads * threads], threads)
    return [_dot(slab) for slab in slabs], slabs[0].nbytes


def _dot(slab: Array) -> Work:
    return lambda: np.dot(slab, slab)


def triad(buffer: Array, threads: int) -> tuple[list[Work], float]:
    """a = b + 3 c over slabs, block by block; amount in bytes as STREAM counts them (read b and c, write a)."""
    length = len(buffer) // (3 * threads)
    slabs = [buffer[at * 3 * length : (at + 1) * 3 * length].reshape(3, length) for at in range(threads)]
    return [_triad(slab) for slab in slabs], slabs[0].nbytes


def _triad(slab: Array) -> Work:
    product = np.empty(_BLOCK, slab.dtype)
    a, b, c = slab

    def work() -> None:
        for start in range(0, len(a), _BLOCK):
            part = product[: len(a[start : start + _BLOCK])]
            np.multiply(c[start : start + _BLOCK], 3.0, out=part)
            np.add(b[start : start + _BLOCK], part, out=a[start : start + _BLOCK])

    return work


def numpy_gemm(dtype: type, size: int) -> Work:
    """One square matrix product in numpy's BLAS."""
    rng = np.random.default_rng(0)
    a: Array = rng.random((size, size)).astype(dtype)
    b: Array = rng.random((size, size)).astype(dtype)
    out = np.empty_like(a)
    return lambda: np.matmul(a, b, out=out)


def onnx_gemm(precision: str, size: int) -> Work:
    """One square matrix product in onnxruntime: int8 (u8 x s8 -> int32), fp16 or bf16; casts it inserts included."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(gemm_graph(precision, size), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feeds = {"int8": np.uint8, "fp16": np.float16, "bf16": np.float32}
    a = rng.integers(0, 8, (size, size)).astype(feeds[precision])
    return lambda: session.run(None, {"a": a})


def gemm_graph(precision: str, size: int) -> bytes:
    """An ONNX model with one product by a constant matrix."""
    from onnx import TensorProto as T
    from onnx import helper, numpy_helper

    values = np.random.default_rng(1).integers(0, 8, (size, size))
    if precision == "int8":
        given, made = T.UINT8, T.INT32
        weight = numpy_helper.from_array(values.astype(np.int8), "w")
        nodes = [helper.make_node("MatMulInteger", ["a", "w"], ["y"])]
    elif precision == "fp16":
        given = made = T.FLOAT16
        weight = numpy_helper.from_array(values.astype(np.float16), "w")
        nodes = [helper.make_node("MatMul", ["a", "w"], ["y"])]
    else:
        given = made = T.FLOAT
        upper_halves = (values.astype(np.float32).view(np.uint32) >> 16).astype("<u2")
        weight = helper.make_tensor("w", T.BFLOAT16, (size, size), upper_halves.tobytes(), raw=True)
        nodes = [
            helper.make_node("Cast", ["a"], ["b"], to=T.BFLOAT16),
            helper.make_node("MatMul", ["b", "w"], ["z"]),
            helper.make_node("Cast", ["z"], ["y"], to=T.FLOAT),
        ]
    shape = [size, size]
    graph = helper.make_graph(
        nodes,
        "gemm",
        [helper.make_tensor_value_info("a", given, shape)],
        [helper.make_tensor_value_info("y", made, shape)],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


_GEMMS: dict[str, Callable[[int], Work]] = {
    "fp32": lambda size: numpy_gemm(np.float32, size),
    "fp64": lambda size: numpy_gemm(np.float64, size),
    "int8": lambda size: onnx_gemm("int8", size),
    "fp16": lambda size: onnx_gemm("fp16", size),
    "bf16": lambda size: onnx_gemm("bf16", size),
}


def measured(threads: Sequence[int], *, array_bytes: int, gemm_size: int, budget_s: float) -> dict[str, Any]:
    """All rates: `read` and `triad` in GB/s and one GEMM a precision in GFLOP/s, each a list in the order of `threads`.

    A precision that this runtime does not compute is `absent`, with the reason. Cost: budget_s and 0.7 s of imports.
    """
    each_s = budget_s / ((2 + len(_GEMMS)) * len(threads))
    buffer = np.ones(array_bytes // 8)
    rates: dict[str, list[float]] = {}
    for name, kernel in (("read", reading), ("triad", triad)):
        rates[name] = [best_rate(*kernel(buffer, count), each_s) / 1e9 for count in threads]
    del buffer
    absent: dict[str, str] = {}
    for precision, make in _GEMMS.items():
        try:
            work = make(gemm_size)
        except Exception as error:  # noqa: BLE001 -- onnxruntime has no common base for "not implemented"; told below
            absent[precision] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
            continue
        works = [make(gemm_size) for _ in range(max(threads) - 1)]
        rates[precision] = [best_rate([work, *works][:count], 2 * gemm_size**3, each_s) / 1e9 for count in threads]
    return {"rates": rates, "absent": absent}


def main() -> None:
    """Read the settings from the command line, print the rates: both JSON."""
    json.dump(measured(**json.loads(sys.argv[1])), sys.stdout)
