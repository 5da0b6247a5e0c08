"""Text encoders: meaning, cost, and the BERT graph against transformers."""

import math

import numpy as np
import pytest

from lightmeter.assets.finding import find, find_or_none
from lightmeter.encoders.bert import BertShape, bert_graph
from lightmeter.encoders.bge import BgeSmall
from lightmeter.encoders.glove import GloveMean
from lightmeter.encoders.minilm import MiniLm
from lightmeter.encoders.runtime import session, set_threads, threads
from lightmeter.errors import InvalidValueError
from lightmeter.types import Words

PAIRS = [
    ("a kitten sleeps on the sofa", "a cat naps on a couch"),
    ("how to cook rice", "a recipe for boiled rice"),
    ("the stock market fell sharply", "share prices dropped today"),
    ("a train leaves the station", "the locomotive departs"),
]


@pytest.mark.parametrize(
    "encoder", [BgeSmall(), pytest.param(MiniLm(), id="MiniLm"), pytest.param(GloveMean(), id="GloveMean")], ids=repr
)
def test_a_paraphrase_is_nearest(encoder):
    needs = {"MiniLm()": "minilm", "GloveMean()": "glove"}.get(repr(encoder))
    if needs and find_or_none(needs) is None:
        pytest.skip(f"needs `lightmeter assets add {needs}`")
    left, right = (encoder.encode([Words(pair[side]) for pair in PAIRS]) for side in (0, 1))
    hits = np.sum(np.argmax(left @ right.T, axis=1) == np.arange(len(PAIRS)))
    assert hits >= (3 if needs == "glove" else 4)
    np.testing.assert_allclose(np.linalg.norm(left, axis=1), 1, rtol=1e-5)


def test_the_bge_file_costs_what_is_stated(count_macs, tmp_path):
    import onnxruntime as ort

    options = ort.SessionOptions()  # let onnxruntime fold the arithmetic on shapes, so that onnx can infer them
    options.add_free_dimension_override_by_name("batch_size", 1)
    options.add_free_dimension_override_by_name("sequence_length", 16)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "folded.onnx")
    ort.InferenceSession(str(find("bge-small")), options, providers=["CPUExecutionProvider"])
    assert count_macs((tmp_path / "folded.onnx").read_bytes()) == BgeSmall().macs


def test_a_long_text_is_cut():
    words = [Words("word " * 600), Words("word " * 600 + "zebra")]
    np.testing.assert_array_equal(*BgeSmall().encode(words))


@pytest.fixture(scope="module")
def tiny_bert():
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
        max_position_embeddings=20,
    )  # fmt: skip
    model = transformers.BertModel(config).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return model


def test_the_bert_graph_is_bert(tiny_bert, count_macs):
    import torch

    weights = {name: value.numpy() for name, value in tiny_bert.state_dict().items()}
    graph = bert_graph(weights, BertShape(layers=2, heads=3))
    run = session("tiny bert of test_words", lambda: graph)
    for length in (1, 7, 20):
        ids = np.random.default_rng(length).integers(0, 50, (1, length))
        with torch.inference_mode():
            theirs = tiny_bert(input_ids=torch.from_numpy(ids)).last_hidden_state.mean(dim=1).numpy()
        np.testing.assert_allclose(run.run(None, {"ids": ids})[0], theirs, atol=2e-5)
    per_layer = 7 * (4 * 24 * 24 + 2 * 24 * 40) + 2 * 7 * 7 * 24
    assert count_macs(graph, tokens=7) == 2 * per_layer


def test_glove_is_the_mean_of_its_words():
    pytest.importorskip("pyarrow")
    if find_or_none("glove") is None:
        pytest.skip("needs `lightmeter assets add glove`")
    encoder = GloveMean()
    cat, dog = (np.load(find("glove") / "glove_6B_50d_emb.npy", mmap_mode="r")[each] for each in (5450, 2926))
    table = encoder.encode([Words("Cat, dog!"), Words("dog cat xqzzt"), Words("xqzzt")])
    np.testing.assert_array_equal(table[0], table[1])  # order and unknown words do not count
    assert not table[2].any()
    mean = (cat + dog) / 2
    np.testing.assert_allclose(table[0], mean / math.sqrt(float(mean @ mean)), rtol=1e-5)


def test_threads_are_told_not_guessed(monkeypatch):
    before = threads()
    try:
        set_threads(2)
        assert threads() == 2
        with pytest.raises(InvalidValueError, match="threads must be a whole number of 1 or more, got 0"):
            set_threads(0)
    finally:
        set_threads(before)
