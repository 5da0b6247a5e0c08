"""BERT as an ONNX graph, written from the names that PyTorch checkpoints use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lightmeter.encoders.graph import Graph
from lightmeter.types import Array

GRAPH_VERSION = "bert 1"
"""Raise it with any change to `bert_graph`: graphs are kept on disk under this name."""

_EPSILON = 1e-12


@dataclass(frozen=True, slots=True)
class BertShape:
    """How many layers and attention heads; all other lengths follow from the weights."""

    layers: int
    heads: int


def bert_graph(weights: Mapping[str, Array], shape: BertShape) -> bytes:
    """Token numbers int64 [1, L] -> the mean of the last layer over all tokens, float32 [1, D].

    Source: Devlin et al. 2019, arXiv:1810.04805 (post-norm encoder, exact GELU); mean pooling as in Reimers & Gurevych
    2019, arXiv:1908.10084.  One unpadded text a run, so no mask is needed.
    """
    graph = Graph()
    x = _embedded(graph, weights)
    for layer in range(shape.layers):
        x = _block(graph, weights, x, f"encoder.layer.{layer}", shape.heads)
    graph.alias(graph.add("ReduceMean", x, axes=[1], keepdims=0), "pooled")
    width = weights["embeddings.word_embeddings.weight"].shape[1]
    return graph.model({"ids": (np.int64, [1, "tokens"])}, {"pooled": [1, width]})


def _embedded(graph: Graph, weights: Mapping[str, Array]) -> str:
    """Word + position + first segment, normalised; positions are the first L rows of their table."""
    words = graph.add("Gather", graph.weight(weights["embeddings.word_embeddings.weight"]), "ids")
    places = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    length = graph.add("Shape", "ids", start=1)
    shown = graph.add("Slice", graph.weight(places), graph.weight([0]), length, graph.weight([0]))
    return _norm(graph, weights, graph.add("Add", words, shown), "embeddings.LayerNorm")


def _block(graph: Graph, weights: Mapping[str, Array], x: str, name: str, heads: int) -> str:
    attended = _attention(graph, weights, x, f"{name}.attention.self", heads)
    attended = _linear(graph, weights, attended, f"{name}.attention.output.dense")
    x = _norm(graph, weights, graph.add("Add", attended, x), f"{name}.attention.output.LayerNorm")
    inner = _gelu(graph, _linear(graph, weights, x, f"{name}.intermediate.dense"))
    return _norm(
        graph,
        weights,
        graph.add("Add", _linear(graph, weights, inner, f"{name}.output.dense"), x),
        f"{name}.output.LayerNorm",
    )


def _attention(graph: Graph, weights: Mapping[str, Array], x: str, name: str, heads: int) -> str:
    width = weights[f"{name}.query.weight"].shape[0]
    split = graph.weight([0, 0, heads, width // heads])

    def part(which: str, order: list[int]) -> str:
        projected = graph.add("Reshape", _linear(graph, weights, x, f"{name}.{which}"), split)
        return graph.add("Transpose", projected, perm=order)

    scores = graph.add("MatMul", part("query", [0, 2, 1, 3]), part("key", [0, 2, 3, 1]))
    scaled = graph.add("Div", scores, graph.weight(math.sqrt(width / heads)))
    mixed = graph.add("MatMul", graph.add("Softmax", scaled, axis=-1), part("value", [0, 2, 1, 3]))
    return graph.add("Reshape", graph.add("Transpose", mixed, perm=[0, 2, 1, 3]), graph.weight([0, 0, width]))


def _linear(graph: Graph, weights: Mapping[str, Array], x: str, name: str) -> str:
    product = graph.add("MatMul", x, graph.weight(weights[f"{name}.weight"].T))
    return graph.add("Add", product, graph.weight(weights[f"{name}.bias"]))


def _norm(graph: Graph, weights: Mapping[str, Array], x: str, name: str) -> str:
    gain, shift = graph.weight(weights[f"{name}.weight"]), graph.weight(weights[f"{name}.bias"])
    return graph.add("LayerNormalization", x, gain, shift, axis=-1, epsilon=_EPSILON)


def _gelu(graph: Graph, x: str) -> str:
    error = graph.add("Erf", graph.add("Div", x, graph.weight(math.sqrt(2.0))))
    return graph.add("Mul", graph.add("Mul", x, graph.weight(0.5)), graph.add("Add", error, graph.weight(1.0)))
