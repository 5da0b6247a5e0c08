"""A classifier under a budget of bytes: its weights in the number format that changes its answers least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from lightmeter.errors import InvalidValueError
from lightmeter.heads.classifier import Classifier, Part, bare_net, loaded_net
from lightmeter.heads.examples import Block, BlockKind, Examples
from lightmeter.heads.net_head import NetHead, SeparableHead
from lightmeter.parts import Spelled, need

if TYPE_CHECKING:
    from lightmeter.types import Array

Format = Literal["float16", "int8", "uniform", "quantile", "kmeans"]
FORMATS: tuple[Format, ...] = ("float16", "int8", "uniform", "quantile", "kmeans")
_ROWS_AT_ONCE = 256
_LEAST_CHANCE = 1e-7


@dataclass(frozen=True)
class Small(Spelled):
    """Another head whose weights are kept in a number format; `shrink` makes it of one that has learnt.

    It does not learn: fit the other head, then shrink.  Source: `nets.formats`, `nets.coded`.
    """

    head: NetHead
    format: Format = "int8"

    def __post_init__(self) -> None:
        if not isinstance(self.head, NetHead) or isinstance(self.head, Small):
            raise InvalidValueError(f"head must be a network that is not small yet, got {self.head}: name another head")

    @property
    def takes(self) -> tuple[BlockKind, ...]:
        """What the other head reads."""
        return self.head.takes

    def separable(self) -> str:
        """Why classes cannot stand alone; empty where they can, as the other head says."""
        return self.head.separable() if isinstance(self.head, SeparableHead) else "the head's classes share weights"

    def net(self, blocks: Sequence[Block], classes: int) -> Any:
        """A net that waits for what was kept; raises InvalidValueError where fresh weights are asked for."""
        return self._waiting(lambda: self.head.net(blocks, classes))

    def part(self, blocks: Sequence[Block], first: int, last: int, classes: int) -> Any:
        """The same for a range of classes."""
        head = self.head
        if not isinstance(head, SeparableHead):
            raise InvalidValueError(f"the classes of {head.spec} must be kept together, got {first} to {last}")
        return self._waiting(lambda: head.part(blocks, first, last, classes))

    def _waiting(self, make: Any) -> Any:
        torch = need("torch", "torch")
        from lightmeter.nets.coded import CodedNet

        if not torch.empty(0).is_meta:
            raise InvalidValueError(f"small must be made of what has learnt: fit {self.head.spec}, then shrink it")
        return CodedNet(make(), self.format)


@dataclass(frozen=True, slots=True)
class FormatTrial:
    """What a format costs and what it changes.

    size_bytes: of the whole model · divergence: Σ over classes of the Kullback–Leibler divergence of its answers from
    the full model's, nats an item · bound: largest error of any weight, weight units
    """

    format: str
    size_bytes: int
    divergence: float
    bound: float


def kept_in(classifier: Classifier, format: Format) -> Classifier:
    """The classifier with its weights in a format; it saves, loads and answers as any other.

    Raises InvalidValueError for weights that the format cannot hold, and for a classifier that is small already.
    """
    return _kept_in(classifier, format)[0]


def _kept_in(classifier: Classifier, format: Format) -> tuple[Classifier, float]:
    """And the largest error of any weight."""
    need("torch", "torch")
    from lightmeter.nets.coded import CodedNet

    head, parts, bound = Small(classifier.head, format), [], 0.0
    for part in classifier.parts:
        own = replace(part, arrays={name: array.copy() for name, array in part.arrays.items()})
        net = CodedNet(loaded_net(classifier.head, classifier.blocks, own, classifier.classes), format)
        parts.append(Part(part.first, part.last, {name: each.numpy() for name, each in net.state_dict().items()}))
        bound = max(bound, net.bound)
    return replace(classifier, head=head, parts=tuple(parts)), bound


def try_formats(classifier: Classifier, examples: Examples, *, rows: int = 1024) -> tuple[FormatTrial, ...]:
    """Every format on some items, the full model first; a format that cannot hold a weight is left out.

    rows: items, evenly over the set (their labels are not read).  Cost: seven times their scores, and 256 clusters of
    every weight's values.
    """
    return tuple(trial for trial, _ in _tried(classifier, examples, rows))


def shrink(classifier: Classifier, budget_bytes: int, examples: Examples, *, rows: int = 1024) -> Classifier:
    """The classifier in the format whose answers differ least from its own, among those within the budget.

    examples: set on which answers are compared, labels or none · rows: how many of its items, evenly over the set
    A classifier within the budget is returned as it is. Else `about["shrunk"]` says what was chosen and what changed.
    Raises InvalidValueError where no format fits, with the smallest size that there is.
    Source: Skalic & Austin 2018 (8-bit codebooks under YouTube-8M's limit of 1 GB).
    """
    if classifier.size_bytes <= budget_bytes:
        return classifier
    tried = _tried(classifier, examples, rows)
    fitting = [each for each in tried if each[0].size_bytes <= budget_bytes]
    if not fitting:
        raise _too_little(min(trial.size_bytes for trial, _ in tried), budget_bytes)
    trial, made = min(fitting, key=lambda each: (each[0].divergence, each[0].size_bytes))
    told = {"format": trial.format, "from_bytes": classifier.size_bytes, "divergence": trial.divergence, "rows": rows}
    return replace(made, about={**classifier.about, "shrunk": told})


def check_budget(
    head: NetHead, blocks: Sequence[Block], classes: int, budget_bytes: int, *, ranges: Sequence[tuple[int, int]] = ()
) -> None:
    """Raise InvalidValueError where no format can keep a network within a budget, before it learns.

    ranges: of classes that are kept apart; none: all are one part
    By the shapes alone: tables that come with a head (frozen word vectors) are not counted, so that what passes may
    still be too large for `shrink`.  Cost: no weight is made.
    """
    sizes = [
        sum(
            each.numel() * each.element_size()
            for first, last in ranges or [(0, classes)]
            for each in bare_net(kept, blocks, (first, last, classes)).state_dict().values()
        )
        for kept in (head, *(Small(head, format) for format in FORMATS))
    ]
    if min(sizes) > budget_bytes:
        raise _too_little(min(sizes), budget_bytes)


def _too_little(least_bytes: int, budget_bytes: int) -> InvalidValueError:
    return InvalidValueError(
        f"the budget must be {least_bytes} bytes or more for this model, got {budget_bytes}: allow more or fit less"
    )


def _tried(classifier: Classifier, examples: Examples, rows: int) -> list[tuple[FormatTrial, Classifier]]:
    import numpy as np

    view = classifier.view(examples)
    chosen = np.unique(np.linspace(0, len(view) - 1, min(rows, len(view))).round().astype(np.int64))
    if not len(chosen):
        raise InvalidValueError("examples must hold one item at least to compare answers on, got none")
    batches = [chosen[at : at + _ROWS_AT_ONCE] for at in range(0, len(chosen), _ROWS_AT_ONCE)]
    full = [classifier.scores(view.batch(each)) for each in batches]
    made = [(FormatTrial("float32", classifier.size_bytes, 0.0, 0.0), classifier)]
    for format in FORMATS:
        try:
            small, bound = _kept_in(classifier, format)
        except InvalidValueError:
            if format != "float16":  # the one format with a largest number
                raise
            continue
        apart = sum(_divergence(own, small.scores(view.batch(each))) for own, each in zip(full, batches, strict=True))
        made.append((FormatTrial(format, small.size_bytes, apart / len(chosen), bound), small))
    return made


def _divergence(p: Array, q: Array) -> float:
    """Σ p·log(p / q) + (1 - p)·log((1 - p) / (1 - q)) over all items and classes."""
    import numpy as np

    p, q = (np.clip(each.astype(np.float64), _LEAST_CHANCE, 1 - _LEAST_CHANCE) for each in (p, q))
    return float((p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum())
