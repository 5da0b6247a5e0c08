"""What do the metrics of 1.4 million videos cost, and the twenty best of thousands of scores?

    python benchmarks/multimodaling/metrics.py [docs/results]

Writes multimodal-top.json and multimodal-gap.json.  All on one thread; no data is needed: scores are drawn.
"""

import sys
from pathlib import Path

import numpy as np

from lightmeter.meter.bench import Bench, bench_rows, run_bench
from lightmeter.meter.cost import measure
from lightmeter.meter.record import Record, write_results
from lightmeter.metrics.ranking import VideoScores, are_labels
from lightmeter.metrics.top import top_scores
from lightmeter.report.text import table
from lightmeter.types import Labels

SEED, CLASSES, TOP = 0, 4716, 20
VIDEOS, BATCH = 1_400_000, 50_000


def drawn_scores() -> np.ndarray:
    """A batch as a trained classifier gives it: frequent classes first, a few high scores: float32 [1024, 4716]."""
    rng = np.random.default_rng(SEED)
    logits = np.log(1 / np.arange(1, CLASSES + 1)) + rng.normal(0, 2, (1024, CLASSES))
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def rounded_scores() -> np.ndarray:
    """The same with two decimals, as some files hold them: thousands of equal scores a row."""
    return np.round(drawn_scores(), 2)


def by_argpartition(scores: np.ndarray) -> np.ndarray:
    return np.take_along_axis(scores, np.argpartition(scores, CLASSES - TOP, axis=1)[:, CLASSES - TOP :], 1)


def by_argpartition_in_order(scores: np.ndarray) -> np.ndarray:
    found = np.argpartition(scores, CLASSES - TOP, axis=1)[:, CLASSES - TOP :]
    values = np.take_along_axis(scores, found, 1)
    return np.take_along_axis(values, np.argsort(-values, axis=1, kind="stable"), 1)


def by_torch(scores: np.ndarray) -> np.ndarray:
    import torch

    return torch.topk(torch.from_numpy(scores), TOP, dim=1).values.numpy()


def ours(scores: np.ndarray) -> np.ndarray:
    return top_scores(scores, TOP)[0]


def equal_to_sorting(values: np.ndarray, scores: np.ndarray) -> float:
    return float(np.array_equal(np.sort(values, axis=1), np.sort(scores, axis=1)[:, -TOP:]))


def top_record() -> Record:
    try:
        import torch

        torch.set_num_threads(1)
        peers = {"torch.topk": by_torch}
    except ImportError:
        peers = {}
    variants = {"numpy argpartition": by_argpartition, "argpartition, in order": by_argpartition_in_order}
    rows = []
    for name, data in (("drawn", drawn_scores), ("two decimals", rounded_scores)):
        bench = Bench(
            id="multimodal-top",
            question="What do the 20 highest of 4,716 scores cost, for 1,024 rows?",
            data=data,
            variants={**variants, **peers, "ours, in order": ours},
            quality={"exact": equal_to_sorting},
            seed=SEED,
        )
        record = run_bench(bench, repeats=15, warm_up=2)
        print(f"{bench.question} Scores: {name}")
        print(table(bench_rows(record)))
        rows += [{"scores": name, **row} for row in record.rows]
    return Record(bench.id, bench.question, rows, seed=SEED, notes={"threads": 1, "repeats": 15})


def drawn_videos() -> VideoScores:
    """As of 1.4 million videos: falling scores, the likelier right the higher; only what is kept is made."""
    rng = np.random.default_rng(SEED)
    whole = VideoScores(CLASSES, TOP)
    for _ in range(VIDEOS // BATCH):
        values = np.sort(rng.random((BATCH, TOP), np.float32) ** 6, axis=1)[:, ::-1].copy()
        classes = (rng.integers(0, CLASSES // TOP, (BATCH, TOP)) * TOP + np.arange(TOP)).astype(np.int16)
        hits = rng.random((BATCH, TOP), np.float32) < values * 0.6
        labels = Labels.of([own[hit].tolist() for own, hit in zip(classes, hits, strict=True)], CLASSES)
        lengths = np.minimum(np.diff(labels.offsets), TOP)
        found = np.where(lengths > 0, np.cumsum(are_labels(classes, labels), axis=1)[np.arange(BATCH), lengths - 1], 0)
        state = {
            "shape": np.array([CLASSES, TOP]), "values": values, "classes": classes, "offsets": labels.offsets,
            "labels": labels.classes, "found": found.astype(np.int32), "tied": np.zeros(BATCH, bool),
        }  # fmt: skip
        whole = whole.merge(VideoScores.from_state(state))
    return whole


def by_argsort(whole: VideoScores) -> float:
    """The straightforward way: equal scores as they come."""
    values = np.concatenate([part.values.ravel() for part in whole._parts])
    hits = np.concatenate([part.hits.ravel() for part in whole._parts])
    ranks = np.flatnonzero(hits[np.argsort(-values, kind="stable")]) + 1
    return float(np.sum(np.arange(1, len(ranks) + 1) / ranks)) / int(whole.label_counts().sum())


def gap_record() -> Record:
    whole = drawn_videos()
    arrays = [each for part in whole._parts for each in (part.values, part.classes, part.hits, part.found, part.tied)]
    arrays += [each for part in whole._parts for each in (part.labels.offsets, part.labels.classes)]
    state_bytes = sum(array.nbytes for array in arrays)
    print(f"the state of {VIDEOS:,} videos takes {state_bytes / 1e6:.0f} MB")
    calls = {
        "gap": lambda: whole.gap()[0],
        "average precision of each class": lambda: float(np.nanmean(whole.average_precisions())),
        "all metrics": lambda: whole.result().gap,
        "gap by argsort": lambda: by_argsort(whole),
    }
    rows = []
    for name, call in calls.items():
        costs = []
        for _ in range(3):
            with measure() as meter:
                value = call()
            costs.append(meter.cost)
        cost = sorted(costs, key=lambda each: each.cpu_s)[1]
        rows.append({"what": name, "value": value, "cost": cost.as_json()})
        print(f"{name}: {value:.9f}, {cost.cpu_s:.2f} CPU-s, peak of the process {cost.peak_bytes / 1e6:.0f} MB")
    question = f"What do the metrics of {VIDEOS:,} videos × {TOP} cost once the top {TOP} are selected?"
    notes = {"videos": VIDEOS, "state_bytes": state_bytes, "threads": 1, "peak": "of the whole process, with the state"}
    return Record("multimodal-gap", question, rows, seed=SEED, notes=notes)


def main(out: Path) -> None:
    for record in (gap_record(), top_record()):
        print(write_results(out / f"{record.id}.json", record))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results"))
