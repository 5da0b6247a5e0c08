"""How well do thresholds from a null separate related queries from unrelated ones?

    python benchmarks/nulls.py [docs/results/nulls.json]

Needs the stamps: `lightmeter assets add tuxpaint-stamps`. Words: captions and names of every second stamp, asked by 150
captions (related) and by the 150 unrelated queries; centred and plain text encoder. Pictures and sounds: stamps and
scikit-image's samples; a library is a random part, unrelated queries are the others, related ones are changed copies.
"""

import sys
from pathlib import Path

import numpy as np

from lightmeter.assets.finding import find
from lightmeter.encoders.protocol import unit_rows
from lightmeter.library.calibrating import ALPHA, ASKED, ASKING, FLOORS
from lightmeter.library.twins import twin_of_image, twin_of_sound
from lightmeter.library.unrelated import unrelated_queries
from lightmeter.media.images import read_image
from lightmeter.media.limits import DEFAULT_LIMITS
from lightmeter.media.sound import SoundReader
from lightmeter.media.words import read_words
from lightmeter.meter.cost import measure
from lightmeter.meter.record import Record, write_results
from lightmeter.parts import build
from lightmeter.report.text import table
from lightmeter.search.exact import Block, scan
from lightmeter.search.null import null_from_members, null_from_queries
from lightmeter.studies.sources import package_folder
from lightmeter.types import Words

SEED, DRAWS = 0, 8


def words_rows(stamps: Path) -> list[dict]:
    files = sorted(file for file in stamps.rglob("*.png") if file.with_suffix(".txt").exists())[::2]
    told = [[each for each in read_words(file, stamps) if each.text] for file in files]
    owners = np.array([at for at, words in enumerate(told) for _ in words])
    captions = [next((each.text for each in words if each.source == "sidecar"), "") for words in told]
    asked = [at for at, caption in enumerate(captions) if caption][:150]
    rows = []
    for spec in ("bge-small", "centred"):
        encoder = build(spec)
        with measure() as meter:
            vectors = encoder.encode([each for words in told for each in words])
            block = Block(vectors, owners, np.full(len(owners), np.nan))
            unrelated = scan([block], encoder.encode([Words(query) for query in unrelated_queries()])).best.max(axis=1)
            queries = ["a " + captions[at].rstrip(".").lower() for at in asked]
            scores = scan([block], encoder.encode([Words(query) for query in queries]))
        column = {owner: place for place, owner in enumerate(scores.owners.tolist())}
        own = np.array([scores.best[row, column[at]] for row, at in enumerate(asked)])
        null = null_from_queries(unrelated, own, alpha=ALPHA / 2, asked="captions")
        answers = (scores.best >= null.threshold).sum(axis=1)
        rows.append(
            {
                "what": f"words by {spec}", "members": len(files), "threshold": null.threshold,
                "false_alarm": null.false_alarm, "miss": null.miss, "answers_a_query": float(answers.mean()),
                "cost": meter.cost.as_json(),
            }
        )  # fmt: skip
    return rows


def member_rows(what: str, vectors: np.ndarray, twins: np.ndarray, sizes: list[int]) -> list[dict]:
    drawn = np.random.default_rng(SEED)
    likeness = unit_rows(vectors) @ unit_rows(vectors).T
    rows = []
    for size in sizes:
        found = []
        for _ in range(DRAWS):
            order = drawn.permutation(len(vectors))
            inside, outside = order[:size], order[size:]
            scores = likeness[np.ix_(inside, inside)].astype(np.float64)
            np.fill_diagonal(scores, np.nan)
            null = null_from_members(
                scores[:ASKING], twins[inside], rows=size, alpha=ALPHA, floor=FLOORS[what], asked=ASKED[what]
            )
            answered = float((likeness[np.ix_(outside, inside)].max(axis=1) >= null.threshold).mean())
            found.append((null.threshold, null.false_alarm, answered, null.miss))
        threshold, law, answered, miss = np.median(np.array(found, np.float64), axis=0)
        rows.append(
            {
                "what": f"{what}s by {what}s", "members": size, "threshold": threshold, "false_alarm_by_law": law,
                "other_members_answered": answered, "miss": miss,
            }
        )  # fmt: skip
    return rows


def pictures(stamps: Path) -> list[dict]:
    encoder = build("efficientnet-lite")
    files = sorted(stamps.rglob("*.png"))[::3]
    samples = package_folder("skimage")
    files += sorted((samples / "data").glob("*.[pj][np]g")) if samples else []
    images = [read_image(file, short_side=encoder.short_side).value for file in files]
    twins = np.array([twin_of_image(encoder, image) for image in images])
    return member_rows("image", encoder.encode(images), twins, [12, 40, 150])


def sounds(stamps: Path) -> list[dict]:
    encoder = build("log-mel")
    files = [file for file in sorted([*stamps.rglob("*.wav"), *stamps.rglob("*.ogg")]) if "desc" not in file.name]
    vectors = encoder.encode([next(iter(SoundReader(file)))[1] for file in files])
    twins = np.array([twin_of_sound(encoder, file, window_s=10.0, limits=DEFAULT_LIMITS) for file in files])
    return member_rows("sound", vectors, twins, [12, 40, 100])


def main(out: Path) -> None:
    stamps = find("tuxpaint-stamps")
    rows = [*words_rows(stamps), *pictures(stamps), *sounds(stamps)]
    print(table(rows, [name for name in dict.fromkeys(key for row in rows for key in row) if name != "cost"]))
    notes = {
        "other_members_answered": "stamps of one kind (two birds) are related: this bounds the false alarms",
        "draws": DRAWS,
    }
    record = Record(
        "nulls", "Do thresholds from a null separate related from unrelated queries?", rows, seed=SEED, notes=notes
    )
    print(write_results(out, record))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results/nulls.json"))
