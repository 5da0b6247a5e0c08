"""What the rows of the study `yt8m` do on a fold: fit a head and ask it, or put the answers of others together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lightmeter.encoders.word_tokens import padded_numbers
from lightmeter.errors import InvalidValueError
from lightmeter.heads.answering import Answering
from lightmeter.heads.classifier import Classifier
from lightmeter.heads.ensemble import combining
from lightmeter.heads.examples import ArrayExamples, Block, Examples
from lightmeter.heads.label_ridge import LabelRidge
from lightmeter.heads.net_head import net_head
from lightmeter.heads.training import Adam, fit_net
from lightmeter.heads.unigram import Unigram
from lightmeter.library.text_blocks import with_blocks
from lightmeter.meter.cost import Cost, measure
from lightmeter.parts import build, render
from lightmeter.studies.folds import Fold, FoldAnswer, summed
from lightmeter.types import Array

Answer = Callable[[Fold], FoldAnswer]
ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class Fit:
    """A head, its training and what it reads.

    head: `{words}` and `{dim}` in it become the folder of the set's word vectors and their numbers a word
    after: row → name of the block that its hidden activations become · hide: blocks taken for absent when it is asked
    known: learn only from items that have one of the blocks
    """

    head: str
    training: str
    blocks: tuple[str, ...]
    after: Mapping[str, str] = field(default_factory=dict)
    hide: tuple[str, ...] = ()
    known: bool = False

    def __call__(self, fold: Fold) -> FoldAnswer:
        """Learn from `train`, answer for `dev` and `test`."""
        items = _with_hidden(fold, self.after)
        view = fold.among(items, self.blocks)
        train = fold.train
        if self.known:
            train = train[view(train).batch(np.arange(len(train))).present.any(axis=1)]
        training = build(self.training, "training")
        if not isinstance(training, Adam):
            raise InvalidValueError(f"training must be adam, got {self.training}")
        with measure(tree=False) as fitting:
            model = fit_net(net_head(self.spec(fold)), view(train), training=training, seed=fold.seed)
        dev, _ = asked(model, view(fold.dev), self.hide)
        test, cost = asked(model, view(fold.test), self.hide)
        return FoldAnswer(
            dev, test, fitting.cost, cost, f"{self.head}; {self.training}", model.size_bytes, model.macs,
            {"model": model, "view": view},
        )  # fmt: skip

    def spec(self, fold: Fold) -> str:
        """The head for this fold's words."""
        if "{" not in self.head:
            return self.head
        return self.head.format(words=render(fold.texts.kept), dim=fold.texts.vectors.dim)


def asked(model: Answering, examples: Examples, hide: Sequence[str] = ()) -> tuple[Array, Cost]:
    """Probabilities of all of a set, and what they cost; two are asked before, to load what that needs."""
    seen = model.view(examples, without=hide)
    made = np.empty((len(seen), model.classes), np.float32)
    model.scores(seen.batch(np.arange(min(2, len(seen)))))
    with measure(tree=False) as meter:
        for at in range(0, len(seen), ROWS_AT_ONCE):
            rows = np.arange(at, min(at + ROWS_AT_ONCE, len(seen)))
            made[rows] = model.scores(seen.batch(rows))
    return made, meter.cost


def ridge(blocks: tuple[str, ...], after: Mapping[str, str] | None = None, l2: float = 1.0) -> Answer:
    """Least squares in closed form with a sigmoid a class: what learning by steps must beat."""

    def answer(fold: Fold) -> FoldAnswer:
        view = fold.among(_with_hidden(fold, after or {}), blocks)
        recipe = LabelRidge(l2=l2)
        with measure(tree=False) as fitting:
            model = recipe.fit(view(fold.train))
        dev, _ = asked(model, view(fold.dev))
        test, cost = asked(model, view(fold.test))
        return FoldAnswer(dev, test, fitting.cost, cost, recipe.spec, model.size_bytes, model.macs)

    return answer


def _with_hidden(fold: Fold, after: Mapping[str, str]) -> Examples:
    """The fold's items with what other rows' networks made of them as further blocks."""
    more = [_hidden(fold, label, name) for label, name in after.items()]
    return with_blocks(fold.items, *more) if more else fold.items


def _hidden(fold: Fold, label: str, name: str) -> ArrayExamples:
    told = fold.answers[label].more
    model: Classifier = told["model"]
    seen = model.view(told["view"](np.arange(len(fold.items))))
    some = [seen.batch(np.arange(at, min(at + ROWS_AT_ONCE, len(seen)))) for at in range(0, len(seen), ROWS_AT_ONCE)]
    rows = np.concatenate([model.hidden(each) for each in some])
    present = np.concatenate([each.present.any(axis=1) for each in some])
    rows[~present] = 0
    block = Block(name, "features", rows.shape[1], f"hidden of {model.head.spec}")
    return ArrayExamples((block,), {name: rows}, tuple(fold.items.ids), (), present=present[:, None])


def together(members: Sequence[str], by: str) -> Answer:
    """An ensemble of other rows; what it must learn, it learns from their answers for `dev`, which none has seen."""

    def answer(fold: Fold) -> FoldAnswer:
        dev, test = (np.stack([getattr(fold.answers[each], part) for each in members]) for part in ("dev", "test"))
        with measure(tree=False) as fitting:
            combined = combining(by).fit(dev, fold.labels(fold.dev))
        with measure(tree=False) as asking:
            made = combined.combine(test)
        fits = [fold.answers[each].fit for each in members]
        asks = [fold.answers[each].ask for each in members]
        sizes = [fold.answers[each].size_bytes or 0 for each in members]
        return FoldAnswer(
            combined.combine(dev), made, summed([*fits, fitting.cost]), summed([*asks, asking.cost]),
            f"{by} of {', '.join(members)}", sum(sizes) + combined.size_bytes,
            sum(fold.answers[each].macs or 0 for each in members),
        )  # fmt: skip

    return answer


def naive_bayes(spec: str, part: str) -> Answer:
    """Unigram Bayes over the words of titles, keywords or both, as `title`, `keywords`, `both`.

    It learns from items that have a word; one without gets what is common.
    """

    def answer(fold: Fold) -> FoldAnswer:
        recipe = build(spec, "head")
        if not isinstance(recipe, Unigram):
            raise InvalidValueError(f"the head must be unigram, got {spec}")
        tokens = _tokens(fold, part)
        train = fold.train[tokens[fold.train].any(axis=1)]
        vocabulary = len(np.unique(tokens[train]))
        with measure(tree=False) as fitting:
            model = recipe.fit(
                tokens[train], fold.labels(train), vocabulary=max(vocabulary, int(tokens.max(initial=1)))
            )
        dev = model.scores(tokens[fold.dev])
        with measure(tree=False) as asking:
            test = model.scores(tokens[fold.test])
        return FoldAnswer(dev, test, fitting.cost, asking.cost, f"{spec} of {part}", model.size_bytes, model.macs)

    return answer


def _tokens(fold: Fold, part: str) -> Array:
    """Numbers of the words, int32 [N, most], padded with 0."""
    whole, vectors = fold.texts.whole, fold.texts.vectors
    titles, keywords = whole.titles, whole.keywords
    lists = {
        "title": titles,
        "keywords": keywords,
        "both": [(*one, *other) for one, other in zip(titles, keywords, strict=True)],
    }[part]
    rows = [vectors.numbers(words) for words in lists]
    return padded_numbers(rows, max(1, max(map(len, rows))))[0]


def prior(fold: Fold) -> FoldAnswer:
    """The same answer for everything: how often each class comes."""
    labels = fold.labels(fold.train)
    with measure(tree=False) as fitting:
        share = (np.bincount(labels.classes, minlength=labels.count) / max(1, len(labels))).astype(np.float32)
    with measure(tree=False) as asking:
        test = np.repeat(share[None], len(fold.test), axis=0)
    return FoldAnswer(
        np.repeat(share[None], len(fold.dev), axis=0), test, fitting.cost, asking.cost, "prior", share.nbytes, 0
    )
