"""A small writer of ONNX graphs: add nodes and weights, get the bytes of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lightmeter.types import Array

OPSET = 17
IR_VERSION = 9


class Graph:
    """Nodes in the order they run; every method returns the name of the value it made."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._made = 0

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """One node with one output. `attributes` are ONNX's own, checked by onnx itself."""
        from onnx import helper

        output = self._name()
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def weight(self, values: Array | float | Sequence[int]) -> str:
        """A constant: arrays as they are, a float as a float32 scalar, a list of ints as int64."""
        from onnx import numpy_helper

        if isinstance(values, float):
            array = np.asarray(values, np.float32)
        else:
            array = values if isinstance(values, np.ndarray) else np.asarray(values, np.int64)
        name = self._name()
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def alias(self, value: str, name: str) -> str:
        """Give a value the name by which it is fetched."""
        from onnx import helper

        self._nodes.append(helper.make_node("Identity", [value], [name]))
        return name

    def model(
        self, inputs: Mapping[str, tuple[type, Sequence[int | str]]], outputs: Mapping[str, Sequence[int | str]]
    ) -> bytes:
        """The graph as bytes. inputs: name -> (dtype, shape); outputs: name -> shape; a word is a free axis."""
        from onnx import helper

        def value(name: str, dtype: type, shape: Sequence[int | str]) -> Any:
            return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(shape))

        graph = helper.make_graph(
            self._nodes,
            "lightmeter",
            [value(name, dtype, shape) for name, (dtype, shape) in inputs.items()],
            [value(name, np.float32, shape) for name, shape in outputs.items()],
            self._weights,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        serialised: bytes = made.SerializeToString()
        return serialised

    def _name(self) -> str:
        self._made += 1
        return f"v{self._made}"
