"""What captioners have in common that run a vision-language model of transformers, from a folder that the user names.

Nothing is fetched, no code of the folder is run: its JSON files, tokenizer and safetensors are all that is read.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Literal

from lightmeter.encoders.by_path import ByPath, Stamp, settle, settle_digits, stamp_of, weights_id
from lightmeter.encoders.captioning.metadata import one_line
from lightmeter.encoders.captioning.protocol import as_rgb, check_batch
from lightmeter.encoders.model_folder import model_config, weight_files
from lightmeter.encoders.runtime import threads
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled, need
from lightmeter.types import Array

Precision = Literal["float32", "bfloat16", "float16"]
_Key = tuple[str, Stamp, Precision, str]
_held: dict[_Key, tuple[Any, Any]] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class ByModel(ByPath, Spelled):
    """A model of a folder that writes what it sees. The parts are its kinds.

    A caption is drawn by its own seed, made of `seed` and the file's name: same name, same picture, same caption.
    Cost: of the model; a token at a time.

    folder: as `save_pretrained` writes model and processor: config.json, model.safetensors (or its shards and index),
    tokenizer.json, processor_config.json or preprocessor_config.json
    max_tokens: of a caption · temperature: of the draw, 0 takes the likeliest token · beams: of the search, with 0
    batch: pictures at once, of one class each time. Above 1, which a GPU wants, draws depend on the batch, and so do
    last bits
    precision: of the weights: twice their size in memory for float32 where the file has 16 bits
    device: `cpu` or `cuda` · sha256: first digits of what the folder must hold
    """

    folder: Path
    max_tokens: int = 128
    temperature: float = 0.0
    beams: int = 1
    seed: int = 0
    batch: int = 1
    precision: Precision = "float32"
    device: Literal["cpu", "cuda"] = "cpu"
    sha256: str = ""

    types: ClassVar[tuple[str, ...]] = ()
    """model_type of config.json; none given: whatever transformers can turn pictures into text with"""
    network: ClassVar[str] = ""
    """class in transformers"""

    def __post_init__(self) -> None:
        settle(self, "folder")
        settle_digits(self)
        for name in ("max_tokens", "beams", "batch"):
            if getattr(self, name) < 1:
                raise InvalidValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if not 0 <= self.temperature < 100:
            raise InvalidValueError(f"temperature must be from 0 to below 100, got {self.temperature}")
        if self.temperature and self.beams > 1:
            raise InvalidValueError(f"beams must be 1 where captions are drawn, got {self.beams}: set temperature=0")

    @property
    def fingerprint(self) -> str:
        """The spec, what the folder holds, and the version of transformers.  Cost: reads the folder, once a process."""
        self._check_files()  # which names what is missing
        return f"{self.spec} {weights_id(self)} transformers {version('transformers')}"

    @property
    def short_side(self) -> None:
        """Every pixel: the model's own processor makes them fewer."""
        return

    @property
    def size_bytes(self) -> int:
        """Of the weights in memory, at most; 1 while there are none, so that a missing model is still a model."""
        on_disk = sum(each.stat().st_size for each in weight_files(self.folder, "model") if each.is_file())
        return max(1, on_disk * (2 if self.precision == "float32" else 1))

    def load(self) -> None:
        """Read the model.

        Raises MissingAssetError with the names of files that are missing, UnsafeFileError for a pickle,
        InvalidValueError for a model of another family.
        """
        self._kept()

    def caption(self, images: Sequence[Array], class_names: Sequence[str], names: Sequence[str]) -> list[str]:
        """What the model writes of each picture, on one line."""
        check_batch(images, class_names, names)
        found: list[str] = []
        for alike in self._chunks(class_names):
            pictures = [_pillow(images[at]) for at in alike]
            found += self._written(pictures, class_names[alike[0]], names[alike[0]])
        return [one_line(each) for each in found]

    def _chunks(self, class_names: Sequence[str]) -> Iterator[list[int]]:
        """Places of pictures of one class in a row, `batch` at a time: their prompts are alike, nothing is padded."""
        for _, alike in groupby(range(len(class_names)), key=lambda at: class_names[at]):
            places = list(alike)
            for start in range(0, len(places), self.batch):
                yield places[start : start + self.batch]

    def _written(self, pictures: Sequence[Any], class_name: str, name: str) -> list[str]:
        torch, (model, processor) = need("torch", "clip"), self._kept()
        torch.set_num_threads(threads())
        devices = [torch.cuda.current_device()] if self.device == "cuda" else []
        with silent(need("transformers", "clip")), torch.inference_mode(), torch.random.fork_rng(devices=devices):
            inputs = self._inputs(processor, pictures, class_name).to(self.device)
            for key, value in inputs.items():
                if torch.is_tensor(value) and value.is_floating_point():
                    inputs[key] = value.to(getattr(torch, self.precision))
            torch.manual_seed(seed_of(self.seed, name))
            tokens = model.generate(**inputs, **self._drawing())
            return [str(each) for each in self._read(processor, tokens, inputs)]

    def _drawing(self) -> dict[str, Any]:
        """Arguments of `generate`: said in full, so that the folder's own generation_config.json decides nothing."""
        told: dict[str, Any] = {"max_new_tokens": self.max_tokens, "num_beams": self.beams, "do_sample": False}
        if self.temperature > 0:
            told |= {"do_sample": True, "temperature": self.temperature, "top_p": 1.0, "top_k": 50}
        return told

    # -- said by the kinds -------------------------------------------------------------------------------------------

    def _inputs(self, processor: Any, pictures: Sequence[Any], class_name: str) -> Any:
        """What the model reads of pictures of one class."""
        raise NotImplementedError

    def _read(self, processor: Any, tokens: Any, inputs: Any) -> list[str]:
        """Captions from what was written: here all of it."""
        written: list[str] = processor.batch_decode(tokens, skip_special_tokens=True)
        return written

    # -- the model ---------------------------------------------------------------------------------------------------

    def _kept(self) -> tuple[Any, Any]:
        """Model and processor, read at the first call; one model a process, since a second may not fit."""
        key = (str(self.folder), stamp_of(self.folder), self.precision, self.device)
        with _lock:
            if key not in _held:
                made = self._made()
                _held.clear()
                _held[key] = made
            return _held[key]

    def _made(self) -> tuple[Any, Any]:
        self._check_files()
        transformers = need("transformers", "clip")
        if self.device == "cuda" and not need("torch", "clip").cuda.is_available():
            raise InvalidValueError("device must be cpu, got cuda where torch sees no such GPU: leave it out")
        with silent(transformers):
            model = getattr(transformers, self.network).from_pretrained(
                self.folder, local_files_only=True, use_safetensors=True, dtype=self.precision, trust_remote_code=False
            )
            try:
                processor = transformers.AutoProcessor.from_pretrained(
                    self.folder, local_files_only=True, trust_remote_code=False, backend="pil"
                )
            except ImportError as error:
                line = " ".join(str(error).split())[:200]
                raise InvalidValueError(
                    f"the processor in {self.folder} needs what is not here ({line}): take a model whose processor "
                    "reads pictures alone"
                ) from error
        tokenizer = getattr(processor, "tokenizer", None)
        if tokenizer is not None:
            tokenizer.padding_side = "left"
        return model.eval().requires_grad_(requires_grad=False).to(self.device), processor

    def _check_files(self) -> None:
        prepared = "processor_config.json"
        if not (self.folder / prepared).is_file():
            prepared = "preprocessor_config.json"
        kind = model_config(self.folder, "model", "tokenizer.json", prepared).get("model_type")
        if kind not in (self.types or _readers()):
            wanted = " or ".join(self.types) or "that transformers turns pictures into text with"
            raise InvalidValueError(f"{self.folder} must hold a model of type {wanted}, its config.json says {kind!r}")
        self.check_pin()


def _readers() -> frozenset[str]:
    """Families that AutoModelForImageTextToText knows."""
    names = need("transformers.models.auto.modeling_auto", "clip").MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    return frozenset(names)


def _pillow(image: Array) -> Any:
    from PIL import Image as Pillow

    return Pillow.fromarray(as_rgb(image))


def seed_of(seed: int, name: str) -> int:
    """The seed of one caption: 0 to 2**63 - 1.

    >>> seed_of(0, "cat/1.png") == seed_of(0, "cat/1.png") != seed_of(1, "cat/1.png")
    True
    """
    digest = hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@contextmanager
def silent(transformers: Any) -> Iterator[None]:
    """Without transformers' bars and advice: progress is for the program to show."""
    logging = transformers.utils.logging
    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
