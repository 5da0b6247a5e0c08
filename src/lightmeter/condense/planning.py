"""What a run will take, before it: seconds, memory, disk, by phase; and beside it what it took."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.condense.protocol import Condenser
from lightmeter.condense.splitting import MOST_SCORED
from lightmeter.encoders.runtime import threads
from lightmeter.parts import build, need
from lightmeter.report.text import bytes_text, seconds_text

if TYPE_CHECKING:
    from lightmeter.condense.answering import CondenseOptions

_READ_S, _READ_FILE_S, _READ_BYTE_S = 1.5, 0.8e-3, 10e-9
"""A start of the workers; a file; a byte of one, as JPEGs take."""
_TORCH_BYTES, _GENERATOR_BYTES = 500_000_000, 1_200_000_000
_GENERATOR_METHODS = ("vlcp", "d4m", "minimax")
_GENERATOR_MACS, _DRAWING_MACS = 2.4e13, 3e9
"""Of the small diffusion model at 32 pixels: to learn; to draw a picture.  Measured as time of a student's MACs."""
_CAPTION_S, _REPORT_S = 2e-4, 4.0
_CLUSTER_S = 4e-4
"""Of a picture that is clustered, by ten starts."""


@dataclass(frozen=True, slots=True)
class SetFacts:
    """What a plan goes by. pictures, classes, largest class · side, channels of pictures · size_bytes of the files."""

    pictures: int
    classes: int
    largest: int
    side: int
    channels: int
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is expected of a run.

    phases: name → seconds by the clock, in the order that they come in
    memory_bytes: at most at once · disk_bytes: of work folder and OUT
    """

    phases: Mapping[str, float]
    memory_bytes: int
    disk_bytes: int
    notes: tuple[str, ...] = ()

    @property
    def wall_s(self) -> float:
        """Of all phases."""
        return sum(self.phases.values())

    def text(self) -> str:
        """For people, one line a phase."""
        lines = [f"{name}: about {seconds_text(each)}" for name, each in self.phases.items()]
        total = (
            f"in all: about {seconds_text(self.wall_s)} · {bytes_text(self.memory_bytes)} of memory · "
            f"{bytes_text(self.disk_bytes)} of disk"
        )
        return "\n".join([*self.notes, *lines, total])

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "phases": dict(self.phases), "wall_s": self.wall_s, "memory_bytes": self.memory_bytes,
            "disk_bytes": self.disk_bytes, "notes": list(self.notes),
        }  # fmt: skip


def beside(plan: Plan, took_s: Mapping[str, float]) -> list[dict[str, Any]]:
    """Rows for a table: what was expected of each phase, what it took, and the one over the other."""
    rows = []
    for name in dict.fromkeys([*plan.phases, *took_s]):
        planned, took = plan.phases.get(name), took_s.get(name)
        rows.append({
            "phase": name, "planned": None if planned is None else seconds_text(planned),
            "took": None if took is None else seconds_text(took),
            "took / planned": took / planned if planned and took is not None else None,
        })  # fmt: skip
    return rows


@dataclass(frozen=True, slots=True)
class Speed:
    """This machine, now. step_s: to learn a picture once · look_s: to look at one · mac_s: a multiply-add of a look"""

    step_s: float
    look_s: float
    mac_s: float


def plan_of(facts: SetFacts, options: CondenseOptions, specs: Sequence[str], speed: Speed) -> Plan:
    """Expect time, memory and disk of trying some methods.

    Time is counted in pictures that a student learns, and in multiply-adds at the same speed. Expect to be off by a
    factor of two.
    """
    held = min(round(options.valid * facts.pictures), MOST_SCORED)
    learn = facts.pictures - held
    protocol, methods = build(options.protocol, "protocol"), [build(spec, "condenser") for spec in specs]
    score_s, made = 0.0, 0
    for budget in options.budgets(facts.largest):
        items = min(budget * facts.classes, learn)
        course = protocol.course(items, budget, facts.classes)
        student_s = course.steps * course.batch * speed.step_s + len(course.looks) * held * speed.look_s
        score_s += student_s * options.seeds * len(methods)
        made += items
    once_s = _teacher_s(learn, options, speed) + _generator_s(facts, learn, methods, options, speed)
    phases = {
        "read": _READ_S + facts.pictures * _READ_FILE_S + facts.size_bytes * _READ_BYTE_S, "learn once": once_s,
        "make sets": sum(_making_s(each, made, learn, facts, speed) for each in methods), "score": score_s,
        "report": _REPORT_S,
    }  # fmt: skip
    return Plan(phases, _memory_bytes(facts, held, methods), _disk_bytes(facts, learn, methods))


def prices_of(facts: SetFacts, options: CondenseOptions, specs: Sequence[str], speed: Speed) -> dict[str, float]:
    """CPU-seconds that a set of each method costs at the largest budget, all that is learnt for it included."""
    learn = facts.pictures - min(round(options.valid * facts.pictures), MOST_SCORED)
    made = max(options.budgets(facts.largest)) * facts.classes
    prices = {}
    for spec in specs:
        method = build(spec, "condenser")
        own = _making_s(method, made, learn, facts, speed) + _generator_s(facts, learn, [method], options, speed)
        prices[spec] = own + (_teacher_s(learn, options, speed) if _asks_teacher(method) else 0.0)
    return prices


def measured_speed(facts: SetFacts, options: CondenseOptions) -> Speed:
    """Time a step of the protocol's first student on noise.  Cost: about a CPU-second, and the import of torch."""
    protocol: Any = build(options.protocol, "protocol")
    torch = need("torch", "torch")
    torch.set_num_threads(threads())
    side = (facts.side, facts.side)
    net = build(protocol.students[0], "student").net(facts.channels, facts.classes, side, seed=0)
    batch = 32
    x = torch.from_numpy(np.random.default_rng(0).random((batch, facts.channels, *side), np.float32))
    labels = torch.arange(batch) % facts.classes
    steps, looks = [], []
    for _ in range(4):
        start_s = time.perf_counter()
        torch.nn.functional.cross_entropy(net(x), labels).backward()
        steps.append(time.perf_counter() - start_s)
        with torch.no_grad():
            start_s = time.perf_counter()
            net(x)
            looks.append(time.perf_counter() - start_s)
    look_s = float(np.median(looks)) / batch
    return Speed(1.3 * float(np.median(steps)) / batch, look_s, look_s / net.macs)


def _teacher_s(learn: int, options: CondenseOptions, speed: Speed) -> float:
    """To learn, and to look at the set twice."""
    return options.steps_of_teacher(learn) * 64 * speed.step_s + 2 * learn * speed.look_s


def _generator_s(
    facts: SetFacts, learn: int, methods: Sequence[Condenser], options: CondenseOptions, speed: Speed
) -> float:
    """Captions and, where the user names none, a small diffusion model."""
    if not _draws(methods):
        return 0.0
    own = _GENERATOR_MACS * speed.mac_s * _area(facts) if options.generator is None else 0.0
    return learn * _CAPTION_S + own


def _making_s(method: Condenser, made: int, learn: int, facts: SetFacts, speed: Speed) -> float:
    if _draws([method]):
        candidates = int(getattr(method, "candidates", 1))
        return made * candidates * _DRAWING_MACS * speed.mac_s * _area(facts)
    if hasattr(method, "macs"):  # one that learns pixels says so itself
        shape = (facts.side, facts.side, facts.channels)
        return speed.mac_s * float(method.macs(shape, facts.classes, made // facts.classes))
    return 0.0 if _is_random(method) else learn * _CLUSTER_S


def _asks_teacher(method: Condenser) -> bool:
    """By its options: what it clusters, sorts or filters by."""
    if _draws([method]):
        return int(getattr(method, "candidates", 1)) > 1
    if hasattr(method, "macs"):
        return False
    return bool(getattr(method, "features", "teacher") == "teacher") and not _is_random(method)


def _is_random(method: Condenser) -> bool:
    return method.spec.partition("/")[0] == "random-rows"


def _draws(methods: Sequence[Condenser]) -> bool:
    return any(each.spec.partition("/")[0] in _GENERATOR_METHODS for each in methods)


def _area(facts: SetFacts) -> float:
    """Pixels of those at 32, which is where the small model begins to take fewer pictures at once."""
    return min(1.0, (facts.side / 32) ** 2)


def _memory_bytes(facts: SetFacts, held: int, methods: Sequence[Condenser]) -> int:
    picture = facts.side**2 * facts.channels
    return _TORCH_BYTES + 6 * held * picture + (_GENERATOR_BYTES if _draws(methods) else 0)


def _disk_bytes(facts: SetFacts, learn: int, methods: Sequence[Condenser]) -> int:
    """Raw and kept pixels, those to learn from, rows of features, a model."""
    area = facts.side**2
    rows = 4 * (area // 2 + area * facts.channels * any(each.spec.startswith("centroid") for each in methods))
    return facts.pictures * area * (3 + facts.channels) + learn * (area * facts.channels + rows) + 20_000_000
