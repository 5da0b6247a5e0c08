"""Small items of every kind, and tiny CLIP and SigLIP checkpoints made on the spot."""

import json
import math

import numpy as np
import pytest

from lightmeter.types import Image, Sound, Words


def picture(seed, height=70, width=90):
    """Coloured blocks with noise: unlike for every seed."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (4, 5, 3))
    big = np.kron(blocks, np.ones((-(-height // 4), -(-width // 5), 1)))[:height, :width]
    return Image(np.clip(big + rng.normal(0, 8, big.shape), 0, 255).astype(np.uint8))


def tone(hz, rate_hz=16_000, seconds=0.8, gain=0.3):
    """A tone that swells and dies, with a second voice."""
    t = np.arange(round(rate_hz * seconds)) / rate_hz
    wave = np.sin(2 * np.pi * hz * t) + 0.4 * np.sin(2 * np.pi * 2.7 * hz * t)
    return Sound((gain * wave * np.hanning(len(t))).astype(np.float32), rate_hz)


ITEMS = {
    "image": lambda: [picture(0), picture(1, 200, 31), picture(2, 33, 150)],
    "sound": lambda: [tone(300), tone(900, 22_050), tone(2000, 44_100, 1.7)],
    "words": lambda: [Words("A cat on a mat."), Words("seven red ships", ("sea", "storm")), Words("x")],
}
ODD = {
    "image": lambda: [
        Image(np.zeros((64, 64, 3), np.uint8)),
        Image(np.full((64, 64, 3), 255, np.uint8)),
        Image(np.full((1, 1, 3), 7, np.uint8)),
        Image(np.full((1, 3000, 3), 90, np.uint8)),
        Image(np.full((3000, 2, 3), 90, np.uint8)),
        picture(3, 1500, 2000),
    ],
    "sound": lambda: [
        Sound(np.zeros(0, np.float32), 16_000),
        Sound(np.zeros(4000, np.float32), 8_000),
        Sound(np.ones(1, np.float32), 16_000),
        Sound(np.full(9000, 1.0, np.float32), 44_100),
        tone(500, 48_000, 3.0),
    ],
    "words": lambda: [Words(""), Words("é 漢字 🙂 \x00 \n"), Words("word " * 3000), Words("'")],
}
WRONG = {"image": Words("a cat"), "sound": picture(0), "words": "a cat"}


def write_tokenizer(folder):
    """Words to numbers with a start and an end mark, as CLIP's tokenizers put them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<s>", "<pad>", "<unk>", *"a cat dog on mat photo of the red ship".split(), "</s>"]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    end = len(words) - 1
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", end)]
    )
    made.save(str(folder / "tokenizer.json"))
    return len(words), end


def write_preprocessor(folder, **changes):
    settings = {
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
        "do_center_crop": True,
        "resample": 3,
        "image_mean": [0.48, 0.46, 0.41],
        "image_std": [0.27, 0.26, 0.28],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | changes))


def _save(folder, kind):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    words, end = write_tokenizer(folder)
    tower = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3}
    vision = tower | {"image_size": 32, "patch_size": 8}
    text = tower | {"vocab_size": words, "max_position_embeddings": 12, "bos_token_id": 0, "eos_token_id": end}
    torch.manual_seed(0)
    if kind == "clip":
        config = transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=16)
        model = transformers.CLIPModel(config)
        write_preprocessor(folder)
    else:
        config = transformers.SiglipConfig(vision_config=vision, text_config=text | {"pad_token_id": 1})
        model = transformers.SiglipModel(config)
        write_preprocessor(folder, size={"height": 32, "width": 32}, do_center_crop=False)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    return _save(tmp_path_factory.mktemp("clip"), "clip")


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory):
    return _save(tmp_path_factory.mktemp("siglip"), "siglip")


@pytest.fixture(scope="session")
def word_folders(tmp_path_factory):
    """encoder -> options that name vectors of six words and a codebook of two centres"""
    from lightmeter.encoders.codebook import Codebook
    from lightmeter.encoders.word_vectors import WordVectors

    folder = tmp_path_factory.mktemp("words")
    words = ("cat", "mat", "seven", "red", "ships", "sea")
    WordVectors(words, np.array([[0], [1], [1], [2], [8], [9], [9]], np.float32)).save(folder / "vectors")
    Codebook(np.array([[1], [9]], np.float32)).save(folder / "codebook")
    vectors = f"vectors='{folder / 'vectors'}',part=both"
    return {"word-histogram": f"{vectors},codebook='{folder / 'codebook'}'", "tokens": vectors}


@pytest.fixture(scope="session")
def items():
    """kind -> ordinary items, odd items, something of another kind"""
    return {kind: (ITEMS[kind](), ODD[kind](), WRONG[kind]) for kind in ITEMS}


@pytest.fixture(scope="session")
def make_tone():
    return tone


@pytest.fixture(scope="session")
def make_picture():
    return picture


def _count_macs(model: bytes, **axes) -> int:
    """Conv, Gemm and MatMul (also of integers); `axes` gives the free axes of the inputs by name."""
    import onnx
    from onnx import shape_inference

    graph_model = onnx.load_from_string(model)
    for value in graph_model.graph.input:
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_value = axes[axis.dim_param]
    inferred = shape_inference.infer_shapes(graph_model, data_prop=True, strict_mode=True).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in inferred.initializer}
    for value in [*inferred.input, *inferred.value_info, *inferred.output]:
        shapes[value.name] = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
    return sum(_macs(node, shapes) for node in inferred.node)


def _macs(node, shapes):
    if node.op_type == "Conv":
        return math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type in ("MatMul", "MatMulInteger"):
        return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    return 0


@pytest.fixture(scope="session")
def count_macs():
    """(model bytes, sizes of the free axes) -> MACs of its graph, independent of what encoders state"""
    return _count_macs


@pytest.fixture(scope="session")
def face_file(tmp_path_factory):
    """(which) -> a file as it is published, with weights drawn at random: made when asked for, once.

    `vggface` is a sixteenth as wide as the real one, whose file has 550 MB; while such a test runs, so is the network.
    """
    torch = pytest.importorskip("torch")
    import face_nets_reference as reference

    folder, made = tmp_path_factory.mktemp("faces"), {}
    shapes = {
        "light-cnn-9": lambda: reference.light_cnn_shapes(9),
        "light-cnn-29": lambda: reference.light_cnn_shapes(29),
        "light-cnn-29-v2": lambda: reference.light_cnn_shapes(29, 2),
        "vggface": lambda: reference.vgg_shapes(16),
        "vggface2-resnet": lambda: reference.dag_shapes(squeeze=False, counts=False),
        "vggface2-senet": lambda: reference.dag_shapes(squeeze=True),
    }

    def file(which):
        if which not in made:
            state = reference.drawn(shapes[which]())
            if which.startswith("light-cnn"):  # as train.py of the authors saves it, the optimiser's numbers beside
                moved = {"state": {0: {"momentum_buffer": torch.zeros(3)}}}
                state = {f"module.{name}": each for name, each in state.items()}
                state = {"epoch": 3, "arch": "LightCNN", "state_dict": state, "optimizer": moved}
            made[which] = folder / f"{which}.pth"
            torch.save(state, made[which], _use_new_zipfile_serialization=which.endswith(("v2", "senet")))
        return made[which]

    return file


@pytest.fixture(scope="module")
def narrow_vggface():
    """A sixteenth of the channels, all else as published, to the end of the module."""
    pytest.importorskip("torch")
    from functools import partial

    from lightmeter.nets import vggface

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vggface, "VggFace", partial(vggface.VggFace, 16))
        yield


@pytest.fixture(scope="module")
def let_go():
    """Networks that tests of a module read are not kept beyond it."""
    yield
    from lightmeter.encoders import face_net

    face_net._nets.clear()
