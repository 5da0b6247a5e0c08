"""What methods look at: features, teacher, captions and generator of a set, each made once, kept on disk and priced."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lightmeter.assets.arrays import read_array
from lightmeter.assets.files import write_whole
from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.protocol import Generator, Teacher, Tell
from lightmeter.encoders.by_path import content_sha256, pinned, weights_id
from lightmeter.errors import InvalidValueError
from lightmeter.meter.cost import NOTHING, Cost, measure
from lightmeter.meter.record import hash_of
from lightmeter.parts import build
from lightmeter.types import Array, Image

VERSION = 1
_ROWS = 512
_TOLD_S = 5.0
_MOST_CARD_BYTES = 65_536
_OWN = ("teacher", "pixels", "latents")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Made:
    """What making something took, without what it was made from, and the names of these."""

    cost: Cost
    needs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a set is from, and how long it is learnt.

    source: folder that it was read from, for captioners that look at its files · teacher_steps: of the teacher
    """

    source: Path | None = None
    teacher_steps: int = 1200


@dataclass(slots=True)
class Priced:
    """A block of work that is measured."""

    cost: Cost = NOTHING


class Workbench:
    """`Material` of one set; see `condense.protocol`. Whatever is asked for is made once and kept in a folder.

    folder: kept by content: sets, encoders, models that differ never meet; a stopped run goes on with what is there
    captioner: spec · generator: folder of a diffusion model; None: a small one learns the set, the first time

    Memory: rows are written and read as memory-mapped files, a block at a time.
    """

    def __init__(
        self,
        images: ImageSet,
        folder: Path,
        *,
        seed: int = 0,
        captioner: str = "attributes",
        generator: Path | None = None,
        setting: Setting | None = None,
        tell: Tell = lambda _: None,
    ) -> None:
        self.images, self.folder, self.seed, self.tell = images, folder, seed, tell
        self.captioner, self.generator_folder, self.setting = captioner, generator, setting or Setting()
        self._kept: dict[str, Any] = {}
        told = [VERSION, images.fingerprint, seed, captioner, str(generator), self.setting.teacher_steps]
        self._costs = folder / f"costs-{hash_of(told)[:16]}.json"
        self._made = _costs_in(self._costs)
        self._watchers: list[set[str]] = []
        self._inside: list[list[Cost]] = []
        self.spent_s = 0.0
        """Seconds by the clock that making things took in this process."""

    # -- Material ---------------------------------------------------------------------------------------------------

    def features(self, of: str) -> Array:
        """A row a picture, float32 [N, D], memory-mapped: of `teacher`, `pixels`, `latents` or an image encoder.

        Raises InvalidValueError for an encoder of something else.
        """
        name = of if of in _OWN else _encoder(of).spec
        return self._once(f"features of {name}", lambda: self._features(name))

    def losses(self) -> Array:
        """Cross-entropy of the teacher on each picture: float32 [N], nats."""
        return self._once("losses", self._losses)

    def teacher(self) -> Teacher:
        """A network that learnt the whole set; its learning goes on where it was stopped."""
        return self._once("teacher", self._teacher)

    def captions(self) -> tuple[str, ...]:
        """A caption a picture; "" where there is none."""
        return self._once("captions", self._captions)

    def generator(self) -> Generator:
        """The user's diffusion model, or a small one that learnt the set."""
        return self._once("generator", self._generator)

    # -- prices -----------------------------------------------------------------------------------------------------

    @contextmanager
    def watched(self) -> Iterator[set[str]]:
        """Gathers the names of what is asked for within, all that it needs included."""
        used: set[str] = set()
        self._watchers.append(used)
        try:
            yield used
        finally:
            self._watchers.remove(used)

    @contextmanager
    def priced(self) -> Iterator[Priced]:
        """Measures a block; its cost, known after it, holds what was asked for within at what making that took."""
        priced = Priced()
        self._inside.append([])
        try:
            with self.watched() as used, measure() as meter:
                yield priced
        finally:
            inner = self._inside.pop()
        own, shared = _minus(meter.cost, inner), self.cost_of(used)
        priced.cost = own if shared is None else plus(own, shared)

    def cost_of(self, names: set[str]) -> Cost | None:
        """What making all of these took, now or in an earlier run; None for no names."""
        costs = [self._made[name].cost for name in sorted(names & self._made.keys())]
        return reduce(plus, costs) if costs else None

    def costs(self) -> dict[str, Cost]:
        """What is made so far, and what each of it took by itself."""
        return {name: made.cost for name, made in self._made.items()}

    def _once(self, name: str, make: Callable[[], T]) -> T:
        for used in self._watchers:
            used |= self._closure(name)
        if name not in self._kept:
            known = name in self._made
            self._inside.append([])
            try:
                with self.watched() as needs, measure() as meter:
                    self._kept[name] = make()
            finally:
                inner = self._inside.pop()
            for used in self._watchers:
                used |= {name} | needs
            self.spent_s += _minus(meter.cost, inner).wall_s
            if self._inside:
                self._inside[-1].append(meter.cost)
            if not known:  # read back, it costs what it cost when it was made
                self._made[name] = Made(_minus(meter.cost, inner), tuple(sorted(needs - {name})))
                self._write_costs()
        made: T = self._kept[name]
        return made

    def _closure(self, name: str) -> set[str]:
        return {name, *(self._made[name].needs if name in self._made else ())}

    def _write_costs(self) -> None:
        told = {name: {"cost": made.cost.as_json(), "needs": made.needs} for name, made in self._made.items()}
        write_whole(self._costs, json.dumps(told, indent=1))

    def models(self, *, generator: bool) -> list[dict[str, Any]]:
        """What networks the result rests on, each with its licence as far as it is told; `generator`: that one too."""
        own = "learnt here from the pictures in FOLDER alone"
        made = [{"what": "teacher", "licence": own, "sha256": self._teacher_mark()}] if "teacher" in self._made else []
        for name in sorted(self._made):
            spec = name.removeprefix("features of ")
            if spec not in (name, *_OWN):
                licence = "see docs/assets.md of this program for packaged weights, your own file's source for others"
                made.append({"what": f"encoder {spec}", "licence": licence, "sha256": weights_id(_encoder(spec))})
        if generator and "generator" in self._made:
            told = own if self.generator_folder is None else licence_of(self.generator_folder)
            made.append({"what": "generator", "licence": told, "sha256": self.generator().fingerprint})
        if generator and "captions" in self._made:
            rules = build(self.captioner, "captioner").size_bytes == 0
            licence = "rules or files, no model" if rules else "that of the model, which this program does not know"
            made.append({"what": f"captioner {self.captioner}", "licence": licence, "sha256": ""})
        return made

    # -- making -----------------------------------------------------------------------------------------------------

    def _features(self, of: str) -> Array:
        images = self.images.images
        if of == "pixels":
            return self._rows("pixels", "", lambda rows: images[rows].reshape(-1, images[0].size) / np.float32(255))
        if of == "teacher":
            teacher = self.teacher()
            return self._rows("teacher", self._teacher_mark(), lambda rows: teacher.features(images[rows]))
        if of == "latents":
            generator = self.generator()
            return self._rows("latents", generator.fingerprint, lambda rows: _flat(generator.encode(images[rows])))
        encoder = _encoder(of)
        encoder.load()
        return self._rows(of, weights_id(encoder), lambda rows: encoder.encode([_rgb(each) for each in images[rows]]))

    def _losses(self) -> Array:
        teacher, images, labels = self.teacher(), self.images.images, self.images.labels
        made = self._rows(
            "losses",
            self._teacher_mark(),
            lambda rows: cross_entropy(teacher.logits(images[rows]), labels[rows])[:, None],
        )
        return made[:, 0]

    def _teacher(self) -> Teacher:
        from lightmeter.condense.scoring import fit_teacher

        place, steps = self._teacher_folder(), self.setting.teacher_steps
        fitted: Teacher = fit_teacher(self.images, seed=self.seed, folder=place, tell=self.tell, steps=steps)
        return fitted

    def _teacher_folder(self) -> Path:
        return (
            self.folder
            / f"teacher-{hash_of([VERSION, self.images.fingerprint, self.seed, self.setting.teacher_steps])[:16]}"
        )

    def _teacher_mark(self) -> str:
        return content_sha256(self._teacher_folder())

    def _captions(self) -> tuple[str, ...]:
        from lightmeter.condense.captions import captions_of

        return captions_of(self.images, self.captioner, self.folder, source=self.setting.source, tell=self.tell)

    def _generator(self) -> Generator:
        from lightmeter.condense.synthesis.generator import tiny_generator

        made: Generator = tiny_generator(self)
        return made

    def _rows(self, of: str, mark: str, rows_of: Callable[[slice], Array]) -> Array:
        """Rows of the whole set, block by block, from the folder where they lie there; a stopped run goes on."""
        key = hash_of([VERSION, self.images.fingerprint, of, mark])[:16]
        path = self.folder / f"features-{key}.npy"
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            _fill(path, len(self.images), rows_of, lambda done: self.tell(f"{of}: {done:,} of {len(self.images):,}"))
        return read_array(path, mapped=True)


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Of each row, nats: logits [N, K], labels int64 [N] → float32 [N].

    >>> cross_entropy(np.zeros((1, 4)), np.array([2])).round(3).tolist()
    [1.3860000371932983]
    """
    logits = logits.astype(np.float64)
    top = logits.max(axis=1)
    spread = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    made: Array = (spread - logits[np.arange(len(labels)), labels]).astype(np.float32)
    return made


def _fill(path: Path, total: int, rows_of: Callable[[slice], Array], told: Callable[[int], None]) -> None:
    """Write rows block by block; what was written before a stop is not made again."""
    part, mark = path.with_suffix(".part.npy"), path.with_suffix(".rows")
    done = int(mark.read_text()) if mark.is_file() and part.is_file() else 0
    out: Array | None = np.lib.format.open_memmap(part, mode="r+") if done else None
    last_s = time.monotonic()
    for start in range(done, total, _ROWS):
        stop = min(start + _ROWS, total)
        rows = np.asarray(rows_of(slice(start, stop)), np.float32)
        if out is None:
            out = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=(total, *rows.shape[1:]))
        out[start:stop] = rows
        if stop < total and time.monotonic() - last_s >= _TOLD_S:
            last_s = time.monotonic()
            told(stop)
            _flush(out)
            write_whole(mark, str(stop))
    _flush(out)
    del out
    part.replace(path)
    mark.unlink(missing_ok=True)


def _flush(rows: Array | None) -> None:
    if isinstance(rows, np.memmap):
        rows.flush()


def _encoder(spec: str) -> Any:
    encoder = pinned(build(spec, "encoder"))
    if encoder.takes != "image":
        raise InvalidValueError(f"features must be of {', '.join(_OWN)} or an encoder of pictures, got {encoder.spec}")
    return encoder


def _flat(rows: Array) -> Array:
    return rows.reshape(len(rows), -1)


def _rgb(pixels: Array) -> Image:
    return Image(pixels if pixels.shape[-1] == 3 else np.repeat(pixels, 3, axis=-1))


def licence_of(folder: Path) -> str:
    """What a model's card says; else that nothing is told.

    Source: the head of a README.md as model hubs write it, `license: name`.
    """
    try:
        with (folder / "README.md").open("rb") as file:
            head = file.read(_MOST_CARD_BYTES).decode("utf-8", "replace")
    except OSError:
        head = ""
    found = re.search(r"^license(?:_name)?:[ \t]*['\"]?([\w.+ -]{1,80})", head, re.MULTILINE)
    return found.group(1).strip() if found else "not told in its folder: see where you got it"


def _costs_in(path: Path) -> dict[str, Made]:
    """What an earlier run noted; nothing where the file is not there or broken: it holds prices only."""
    try:
        told = json.loads(path.read_text("utf-8"))
        return {name: Made(Cost.from_json(each["cost"]), tuple(each["needs"])) for name, each in told.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def plus(one: Cost, other: Cost) -> Cost:
    """Only what is compared: seconds add, the peak is the larger."""
    return Cost(one.wall_s + other.wall_s, one.cpu_s + other.cpu_s, max(one.peak_bytes, other.peak_bytes))


def _minus(whole: Cost, parts: Sequence[Cost]) -> Cost:
    return Cost(
        max(0.0, whole.wall_s - sum(each.wall_s for each in parts)),
        max(0.0, whole.cpu_s - sum(each.cpu_s for each in parts)),
        whole.peak_bytes,
    )
