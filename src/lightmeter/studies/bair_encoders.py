"""The encoders of the study `bair`: those that it pretrains itself, the packaged one, the user's, and the controls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.files import locked
from lightmeter.encoders.dense import DenseEncoder
from lightmeter.encoders.pretraining.running import PretrainRun, pretrain
from lightmeter.encoders.pretraining.sample_scores import first_windows
from lightmeter.encoders.pretraining.windows import Footage
from lightmeter.errors import InvalidValueError, LibraryBusyError, LightmeterError, MissingAssetError
from lightmeter.meter.record import hash_of
from lightmeter.parts import build, render
from lightmeter.studies.bair_data import BairSet
from lightmeter.studies.declared import Asked
from lightmeter.types import Array

TOKENS, EMBEDDINGS, HIDDEN, LOGITS = "prior's tokens", "prior's embeddings", "prior's hidden", "prior's logits"
VQVAE, VQVAE_REAL, FRAME, FRAME_RAW = "VQ-VAE", "VQ-VAE, real clip", "frame conditioner", "conditioner, untrained"
FUTURE, OWN, IMAGE, RAW = "future codes", "future codes, own", "image codes, own", "future codes, untrained"
RANDOM, PIXELS, FULL, LITE, YOURS = "random weights", "pixels", "pixels, full size", "EfficientNet-Lite", "yours"
ALL = ", all maps"
"""Ending of an encoder that gives every map it has, of stride 2 and coarser."""
SINGLE = (
    TOKENS, EMBEDDINGS, HIDDEN, LOGITS, VQVAE, VQVAE_REAL, FRAME, FRAME_RAW, FUTURE, OWN, IMAGE, RAW, RANDOM, PIXELS,
    LITE,
)  # fmt: skip
_HELD_OUT = 0.05
_LOOKED_AT = 24


@dataclass(frozen=True, slots=True)
class Recipes:
    """How the study pretrains: specs of the kind `pretraining`; `own` learns from clips, and from single frames."""

    vqvae: str
    prior: str
    own: str


class Encoders:
    """Encoders by label, each made when it is asked for; what cannot be made says why, every time."""

    def __init__(self, asked: Asked, whole: BairSet, recipes: Recipes, folder: Path) -> None:
        self.asked, self.whole, self.recipes, self.folder = asked, whole, recipes, folder
        self.trained: dict[str, Any] = {}
        self.notes: dict[str, str] = {}
        self._made: dict[str, DenseEncoder | LightmeterError] = {}

    def get(self, label: str) -> DenseEncoder:
        """An encoder; raises LightmeterError with the reason where there is none, LibraryBusyError to ask later."""
        if label not in self._made:
            try:
                made = self._build(label)
                _ = made.fingerprint, made.feature_sets  # reads the weights: what is missing is missed here
                self._made[label] = made
            except LibraryBusyError:
                raise
            except LightmeterError as error:
                self._made[label] = error
        found = self._made[label]
        if isinstance(found, LightmeterError):
            raise found
        return found

    def _build(self, label: str) -> DenseEncoder:
        name = label.removesuffix(ALL)
        makers: dict[str, Callable[[], str]] = {
            TOKENS: partial(self._prior, "maps=[tokens],pool=concat"),
            EMBEDDINGS: partial(self._prior, "maps=[embeddings]"),
            HIDDEN: partial(self._prior, ""),
            LOGITS: partial(self._prior, "maps=[logits]"),
            VQVAE: partial(self._videogpt, "videogpt-vqvae", "vqvae", ""),
            VQVAE_REAL: partial(self._videogpt, "videogpt-vqvae", "vqvae", "clip=real,pool=at"),
            FRAME: partial(self._videogpt, "videogpt-frame", "prior", ""),
            FRAME_RAW: partial(self._untrained, FRAME),
            FUTURE: self._future,
            OWN: partial(self._own, "own"),
            IMAGE: partial(self._own, "image"),
            RAW: partial(self._untrained, FUTURE),
            RANDOM: lambda: "random",
            PIXELS: lambda: "pixels/patch=2" if label.endswith(ALL) else "pixels/patch=4",
            FULL: lambda: "pixels/patch=1",
            LITE: lambda: "lite-maps/enlarge=2,maps=[stage3]",
            YOURS: self._yours,
        }
        spec = makers[name]()
        made: DenseEncoder = build(spec, "dense-encoder")
        return _all_maps(made) if label.endswith(ALL) and name not in (PIXELS, FULL, YOURS) else made

    # -- which ------------------------------------------------------------------------------------------------------

    def _yours(self) -> str:
        if self.asked.encoder is None:
            raise InvalidValueError("no --encoder was named")
        return self.asked.encoder

    def _untrained(self, label: str) -> str:
        return f"untrained/of=({self.get(label).spec})"

    def _future(self) -> str:
        """The packaged one; where none comes with this build, the study's own, said so."""
        try:
            build("future-codes", "dense-encoder").feature_sets  # noqa: B018  # reads the weights
        except MissingAssetError:
            self.notes[FUTURE] = f"no weights of future-codes come with this build: {FUTURE} is {OWN} here"
            return self._own("own")
        return "future-codes"

    def _own(self, name: str) -> str:
        return f"future-codes/path={render(self.net(name).folder)}"

    def _prior(self, options: str) -> str:
        return self._videogpt("videogpt-prior", "prior", options)

    def _videogpt(self, kind: str, name: str, options: str) -> str:
        """Of the checkpoint that was named, or of the net that the study pretrains."""
        named = self.asked.checkpoint
        path = named or self.net(name).folder
        window = f",frames={self.net('vqvae').task.recipe.frames}" if not named and kind != "videogpt-frame" else ""
        return f"{kind}/path={render(path)}{window}{',' if options else ''}{options}"

    # -- pretraining ------------------------------------------------------------------------------------------------

    def net(self, name: str) -> Any:
        """A `Pretrained` of the study: vqvae, prior, own or image; found again where an earlier call left it."""
        if name not in self.trained:
            self.trained[name] = self._pretrained(name)
        return self.trained[name]

    def _pretrained(self, name: str) -> Any:
        if self.whole.clips is None:
            raise InvalidValueError(f"clips must be there to pretrain on: {self.whole.no_clips}")
        tokens = None if name == "vqvae" else self.net("vqvae").task.tokenizer()
        spec = {"vqvae": self.recipes.vqvae, "prior": self.recipes.prior}.get(name, self.recipes.own)
        recipe = build(spec, "pretraining")
        footage = Footage.of(self.whole.clips, share=_HELD_OUT, seed=self.asked.seed)
        if name == "image":
            length = recipe_frames(self.recipes.vqvae)
            footage = Footage(
                standing(footage.learn, length), _standing(footage.held_out, length), f"still {footage.fingerprint}"
            )
        key = hash_of([name, recipe.spec, footage.fingerprint, tokens.fingerprint if tokens else "", self.asked.seed])
        place = self.folder / f"{name}-{key[:12]}"
        place.mkdir(parents=True, exist_ok=True)
        report = self.asked.scale != "smoke"
        with locked(place / ".lock"):
            self.asked.tell(f"pretraining {name}: {recipe.spec}")
            return pretrain(recipe, footage, place, PretrainRun(tokens, seed=self.asked.seed, report=report))

    def told(self) -> dict[str, dict[str, Any]]:
        """What is told of every net that was pretrained: recipe, figures, price, diagnostics on held-out windows."""
        wanted = ("pretraining", "figures", "cost", "macs", "samples")
        made = {}
        for name, each in self.trained.items():
            made[name] = {key: each.about[key] for key in wanted if key in each.about}
            clips = each.task.footage.held_out
            made[name]["diagnostics"] = each.task.diagnosed(first_windows(each.task.cut, clips, _LOOKED_AT))
        return made


def recipe_frames(spec: str) -> int:
    """Frames of a window of a tokenizer's recipe."""
    frames: int = build(spec, "pretraining").frames
    return frames


def standing(clips: Array, length: int) -> Array:
    """Every frame as a clip in which nothing moves: uint8 [N, T, H, W, 3] → [N·T, length, H, W, 3], without a copy."""
    flat = np.asarray(clips[np.arange(len(clips))]).reshape(-1, 1, *clips.shape[2:])
    return np.broadcast_to(flat, (len(flat), length, *flat.shape[2:]))


def _standing(clips: Array | None, length: int) -> Array | None:
    return None if clips is None else standing(clips, length)


def _all_maps(encoder: Any) -> DenseEncoder:
    """The same with every map of stride 2 and coarser."""
    from dataclasses import replace

    names = tuple(name for name, each in encoder.feature_sets.items() if each.stride >= 2)
    if hasattr(encoder, "of"):
        return replace(encoder, of=_all_maps(encoder.of))  # type: ignore[no-any-return]
    return replace(encoder, maps=names)  # type: ignore[no-any-return]
