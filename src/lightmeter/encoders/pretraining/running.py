"""One pretraining from clips to a folder: learns, keeps where it stands, scores, saves, draws."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.saving import ABOUT, ARRAYS, expect, load_model
from lightmeter.encoders.pretraining.curve import Curve, Row
from lightmeter.encoders.pretraining.sample_scores import first_windows, score_samples, write_strip
from lightmeter.encoders.pretraining.schedule import Pretraining, Task
from lightmeter.encoders.pretraining.tokenizer import TOKENS, Tokenizer
from lightmeter.encoders.pretraining.windows import Footage
from lightmeter.encoders.runtime import threads
from lightmeter.engines.checkpoints import Checkpoints, differences
from lightmeter.engines.steps import take_steps
from lightmeter.engines.stop import Stop
from lightmeter.errors import InvalidValueError, MissingAssetError
from lightmeter.meter.cost import Cost, measure
from lightmeter.meter.record import hash_of
from lightmeter.parts import need
from lightmeter.types import Array

RUN, CURVE, CURVE_PICTURE, STRIP = "run", "curve.jsonl", "curve.png", "strip.png"
_ROWS = 200
_SCORES = 10
_TELL_S = 0.5
_LOOKED_AT = 8


@dataclass(frozen=True, slots=True)
class Told:
    """How a run goes, once or twice a second, and at the end.

    step, steps: done and in all · began: steps that an earlier call had done · figures: the newest, as `Curve.last`
    """

    step: int
    steps: int
    began: int
    figures: Mapping[str, Row]


@dataclass(frozen=True, slots=True)
class PretrainRun:
    """What a run is beyond its recipe and its clips.

    tokens: what is predicted · start: a folder whose weights are started from · seed, device: `cpu` or `cuda`
    anew: replace what stands there · tell: hears how it goes · checkpoint_s: seconds between two checkpoints
    report: whether pictures are drawn and the net is diagnosed at the end
    """

    tokens: Tokenizer | None = None
    start: Path | None = None
    seed: int = 0
    device: str = "cpu"
    anew: bool = False
    tell: Callable[[Told], None] | None = None
    checkpoint_s: float = 60.0
    report: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Pretrained:
    """What a run made: its net (see `about["kind"]`), how it went, and whether it stood there already."""

    folder: Path
    about: Mapping[str, Any]
    curve: Curve
    task: Task
    again: bool


def pretrain(recipe: Pretraining, footage: Footage, out: Path, run: PretrainRun | None = None) -> Pretrained:
    """Learn, and keep the net in a folder with its curve and a strip; stopped or killed, the same call goes on.

    Checkpoints stand in OUT/run until the net does. Same everything, same seed: same bits, on one thread of one kind of
    machine. A net of another run that stands in OUT is not overwritten, unless `anew`, and then only once all that the
    new run needs is there. More steps are another run (the rate falls over all of them): `start` from the folder of the
    one before, into another one.
    `about["cost"]` is that of all calls together: see `_Spent`.
    Raises InvalidValueError.  Cost: three times `task.macs` a window and step, and the tokenizer's.
    """
    run = run or PretrainRun()
    torch = need("torch", "torch")
    torch.set_num_threads(threads())
    if run.start is not None:
        check_outside("start (--from)", run.start, out)
    devices = [0] if run.device == "cuda" else []
    with torch.random.fork_rng(devices=devices), Stop() as stop:
        torch.manual_seed(run.seed)
        task: Task = recipe.task(footage, seed=run.seed, tokens=run.tokens, device=run.device)
        identity = _identity(recipe, footage, run)
        learner = _Learner(task, recipe, run)
        if (out / ABOUT).is_file() and not run.anew:
            return _standing(out, identity, learner)
        if run.start is not None:
            _begin_with(task.net, run.start, footage)
        if run.anew:
            _clear(out)
        return _learnt(learner, out, identity, run, stop)


def _learnt(learner: _Learner, out: Path, identity: Mapping[str, Any], run: PretrainRun, stop: Stop) -> Pretrained:
    checkpoints = Checkpoints(out / RUN, identity, run.checkpoint_s)
    teller = _Teller(learner, run.tell)
    learner.spent.begin()
    with measure() as meter:
        take_steps(learner, learner.recipe.steps, stop, checkpoints=checkpoints, tell=teller)
    learner.finish()
    cost = {
        **learner.spent.with_this(meter.cost).as_json(),
        "steps": learner.recipe.steps,
        "calls": learner.spent.calls,
    }
    told = _looked_at(learner.task, out) if run.report else {}
    about = {**identity, "figures": learner.curve.last, "cost": cost, "macs": learner.task.macs, **told}
    learner.curve.write(out / CURVE)
    if run.report:
        learner.curve.draw(out / CURVE_PICTURE, learner.recipe.spec.partition("/")[0])
    learner.task.save(out, about)  # last: killed before it, the run ends once more from its last state
    checkpoints.clear()
    return Pretrained(out, about, learner.curve, learner.task, again=False)


def _looked_at(task: Task, out: Path) -> dict[str, Any]:
    """Diagnostics and scores on some windows, held out where there are such, and a strip of the first of them."""
    clips = task.footage.learn if task.footage.held_out is None else task.footage.held_out
    windows = first_windows(task.cut, clips, _LOOKED_AT)
    made = task.shown(windows)
    first = {name: each[0] for name, each in {"true": windows, **made}.items()}
    write_strip(out / STRIP, first)
    return {"diagnostics": task.diagnosed(windows), "samples": score_samples(windows, made)}


class _Spent:
    """What a run takes, over all its calls; kept in its checkpoints.

    Seconds add up. Steps that a kill threw away are not among them. What a checkpoint does not know of earlier calls
    (bytes read, the GPU's time) is unknown for the whole; peaks are of the last call.
    """

    def __init__(self) -> None:
        self.calls = 1
        self._before_s = (0.0, 0.0)
        self._began_s = _clocks_s()

    def begin(self) -> None:
        """This call's work begins."""
        self._began_s = _clocks_s()

    def state(self) -> dict[str, Array]:
        """Seconds by the clock and of CPU so far, and how many calls there were."""
        so_far_s = [
            was + now - began for was, now, began in zip(self._before_s, _clocks_s(), self._began_s, strict=True)
        ]
        return {"spent": np.array([*so_far_s, float(self.calls)])}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Go on from what `state` gave."""
        wall_s, cpu_s, calls = (float(each) for each in expect(arrays, "spent", "float64", 3))
        self._before_s, self.calls = (wall_s, cpu_s), int(calls) + 1

    def with_this(self, cost: Cost) -> Cost:
        """All calls, of which the last took `cost`."""
        return cost if self.calls == 1 else cost.plus(Cost(*self._before_s, peak_bytes=0))


def _clocks_s() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


class _Learner:
    """A task with its optimiser and its curve: what is kept in a checkpoint."""

    def __init__(self, task: Task, recipe: Pretraining, run: PretrainRun) -> None:
        from lightmeter.nets.descent import Descent

        self.task, self.recipe = task, recipe
        self.descent = Descent(task.net, recipe.descent(), seed=run.seed)
        self.curve, self.spent = Curve(max(1, recipe.steps // _ROWS)), _Spent()
        self.scores_every = max(1, recipe.steps // _SCORES)

    def step(self, number: int) -> None:
        """One step, its row of the curve, and a score where it is time."""
        told: Row = {}

        def loss() -> Any:
            made, figures = self.task.loss(number)
            told.update(figures)
            return made

        value = self.descent.step(number, self.recipe.rate(number), loss)
        done, steps = number + 1, self.recipe.steps
        self.curve.add(done, {"loss": value, **told}, ends=done == steps)
        if done % self.scores_every == 0 or done == steps:
            self.curve.score(done, self.task.score())

    def finish(self) -> None:
        """In use from now on."""
        self.task.net.eval()

    def state(self) -> dict[str, Array]:
        """All that the next step depends on."""
        return {**self.descent.state(), **self.curve.state(), **self.spent.state()}

    def restore(self, arrays: Mapping[str, Array], steps: int) -> None:
        """Go on from there."""
        self.descent.restore(arrays, steps)
        self.curve.restore(arrays)
        self.spent.restore(arrays)


class _Teller:
    """Tells now and then."""

    def __init__(self, learner: _Learner, tell: Callable[[Told], None] | None) -> None:
        self.learner, self.tell, self.began, self.said_s = learner, tell, learner.recipe.steps, time.monotonic()

    def __call__(self, done: int, began: int) -> None:
        self.began = began
        now_s, steps = time.monotonic(), self.learner.recipe.steps
        if self.tell is not None and (done == steps or now_s - self.said_s >= _TELL_S):
            self.said_s = now_s
            self.tell(Told(done, steps, began, self.learner.curve.last))


def _identity(recipe: Pretraining, footage: Footage, run: PretrainRun) -> dict[str, Any]:
    """What a net is of; two runs that agree in it are one run."""
    if run.start is not None and not (run.start / ARRAYS).is_file():
        raise MissingAssetError(f"no net at {run.start} to start from: name a folder of `lightmeter segment pretrain`")
    start = "" if run.start is None else hash_of([run.start / ARRAYS])
    tokens = "" if run.tokens is None else run.tokens.fingerprint
    return {
        "pretraining": recipe.spec, "data": footage.fingerprint, "tokens": tokens, "seed": run.seed, "from": start,
        "device": run.device,
    }  # fmt: skip


def _standing(out: Path, identity: Mapping[str, Any], learner: _Learner) -> Pretrained:
    """The net that stands there, when it is what would be made now."""
    arrays, about = load_model(out)
    apart = differences(about, identity)
    if apart:
        raise InvalidValueError(
            f"OUT must be free or hold this very net, got one whose {apart}: take another --out, or replace it with "
            "--anew"
        )
    fill(learner.task.net, arrays)
    learner.curve.read(out / CURVE)
    learner.finish()
    shutil.rmtree(out / RUN, ignore_errors=True)
    return Pretrained(out, about, learner.curve, learner.task, again=True)


def _begin_with(net: Any, folder: Path, footage: Footage) -> None:
    arrays, about = load_model(folder)
    footage.check_unseen(about.get("data"), f"the net in {folder}")
    fill(net, arrays)


def check_outside(option: str, folder: Path, out: Path) -> None:
    """Raises InvalidValueError where what is read lies in the folder that is written, which may be cleared."""
    if folder.resolve().is_relative_to(out.resolve()):
        raise InvalidValueError(
            f"{option} must lie outside of the folder that is written, got {folder}: take another --out"
        )


def fill(net: Any, arrays: Mapping[str, Array]) -> None:
    """Give a net the weights of a model.  Raises RejectedFileError where names, types or shapes are others."""
    import torch

    with torch.no_grad():
        for name, own in net.state_dict().items():
            kind = str(own.dtype).removeprefix("torch.")
            own.copy_(torch.from_numpy(expect(arrays, name, kind, *own.shape).copy()))


def _clear(out: Path) -> None:
    """Take away what a run left: nothing else in the folder."""
    for name in (ABOUT, ARRAYS, CURVE, CURVE_PICTURE, STRIP):
        (out / name).unlink(missing_ok=True)
    for name in (RUN, TOKENS):
        shutil.rmtree(out / name, ignore_errors=True)
