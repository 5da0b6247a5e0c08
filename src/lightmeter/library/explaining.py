"""Answers with their reasons: which blocks, seconds and words of an item made its likeliest labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightmeter.encoders.word_tokens import WordTokens
from lightmeter.errors import LightmeterError
from lightmeter.heads.answering import Answering
from lightmeter.heads.contributions import Contributions, contributions, strongest
from lightmeter.heads.examples import Block, Examples
from lightmeter.library.scoring import scored
from lightmeter.metrics.top import top_scores
from lightmeter.parts import build

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Reason:
    """A thing and by how much the logit falls without it. what: a block, a second or a word."""

    what: str | int
    change: float


@dataclass(frozen=True, slots=True)
class Why:
    """One answer. blocks: those that are there, the strongest first, whichever way they pull · seconds, words: the
    three that help most, none where nothing helps; words by block of tokens, as `#12` where the words are not known

    exact: see `heads.contributions` · base: where it is exact, the logit of the average item, to which the blocks add
    up to that of the answer; else None
    """

    label: str
    score: float
    exact: bool
    base: float | None
    blocks: tuple[Reason, ...]
    seconds: tuple[Reason, ...]
    words: dict[str, tuple[Reason, ...]]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "label": self.label,
            "score": self.score,
            "exact": self.exact,
            "base": self.base,
            "blocks": {str(each.what): each.change for each in self.blocks},
            "seconds": [{"second": each.what, "change": each.change} for each in self.seconds],
            "words": {
                name: [{"word": each.what, "change": each.change} for each in words]
                for name, words in self.words.items()
            },
        }

    def text(self) -> str:
        """One line for people.

        >>> words = {"title": (Reason("miaow", 1.0),)}
        >>> why = Why("cat", 0.9, False, None, (Reason("sight", 2.0),), (Reason(3, 0.5),), words)
        >>> why.text()
        'cat 0.900: sight +2.00 · seconds 3 (+0.50) · title: miaow (+1.00)'
        """
        parts = [", ".join(f"{each.what} {each.change:+.2f}" for each in self.blocks)]
        if self.base is not None:
            parts.append(f"average item {self.base:+.2f}")
        if self.seconds:
            parts.append("seconds " + _listed(self.seconds))
        parts += [f"{name}: {_listed(words)}" for name, words in self.words.items() if words]
        return f"{self.label} {self.score:.3f}: {' · '.join(parts)}"


def explained(model: Answering, examples: Examples, top: int) -> Iterator[tuple[str, list[Why]]]:
    """Item by item: its id, and its likeliest labels with their reasons.

    examples: as the model's `view` gives them.  Cost: see `contributions`, which leaves out everything once an item.
    """
    vocabularies = {block.name: words_of(block) for block in model.blocks if block.kind == "tokens"}
    for rows, found, _ in scored(model, examples):
        _, classes = top_scores(found, min(top, model.classes))
        for row, best in zip(rows.tolist(), classes, strict=True):
            batch = examples.batch(np.array([row]))
            made = contributions(model, batch, best.tolist())
            names = [block.name if there else "" for block, there in zip(model.blocks, batch.present[0], strict=True)]
            whys = [_why(made, at, model.label_names, names, vocabularies) for at in range(len(best))]
            yield examples.ids[row], whys


def words_of(block: Block) -> Sequence[str] | None:
    """The words that the numbers of a block stand for, number 1 first; None where they are not known or not here."""
    try:
        maker = build(block.made_by, "encoder")
        return maker.opened().words if isinstance(maker, WordTokens) else None
    except (LightmeterError, OSError):
        return None


def _why(
    made: Contributions, at: int, labels: Sequence[str], names: Sequence[str],
    vocabularies: dict[str, Sequence[str] | None],
) -> Why:  # fmt: skip
    changes = made.blocks[:, at]
    order = [place for place in np.argsort(-np.abs(changes), kind="stable").tolist() if names[place]]
    seconds = () if made.seconds is None else _best(made.seconds[:, at], range(len(made.seconds)))
    words = {}
    for name, own in made.words.items():
        known = vocabularies[name]
        said = [
            known[number - 1] if known is not None and number <= len(known) else f"#{number}"
            for number in made.numbers[name].tolist()
        ]
        words[name] = _best(own[:, at], said)
    return Why(
        labels[int(made.classes[at])], float(made.chances[at]), made.exact,
        float(made.base[at]) if made.exact else None,
        tuple(Reason(names[place], float(changes[place])) for place in order), seconds, words,
    )  # fmt: skip


def _best(changes: Any, names: Sequence[Any]) -> tuple[Reason, ...]:
    return tuple(Reason(names[place], float(changes[place])) for place in strongest(changes, _SHOWN).tolist())


def _listed(reasons: Sequence[Reason]) -> str:
    return ", ".join(f"{each.what} ({each.change:+.2f})" for each in reasons)
