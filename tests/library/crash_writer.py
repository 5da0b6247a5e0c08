"""A writer that is killed: appends batches, removes, compacts, collects; says `done N` after each commit.

python crash_writer.py FOLDER FIRST COUNT [export TARGET]
"""

import hashlib
import os
import sys
from pathlib import Path

import numpy as np

from lightmeter.library.contents import Tag
from lightmeter.library.store import open_library
from lightmeter.types import Item, Words

DIM, BATCH = 8, 6


def content_id(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


def vectors_of(number: int) -> np.ndarray:
    return np.random.default_rng(number).random((1 + number % 3, DIM), np.float32)


def write_batch(library, batch: int) -> None:
    with library.transaction():
        series = library.series("toy", "item", DIM)
        owners, vectors = [], []
        for number in range(batch * BATCH, (batch + 1) * BATCH):
            key = library.add_content(Item(content_id(number), "image", number))
            path = library.add_path(f"/toy/{number}.png", key, size_bytes=number, mtime_ns=1)
            library.set_words(path, [Words(f"number {number}", ("toy",), "name")])
            library.set_tags([Tag(path, "even" if number % 2 == 0 else "odd", 0.5, "toy")])
            rows = vectors_of(number)
            owners += [key] * len(rows)
            vectors.append(rows)
        library.append(series, np.array(owners), np.concatenate(vectors))


def main() -> None:
    folder, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    with open_library(folder, create=True, write=True, wait_s=10) as library:
        os.write(1, b"open\n")
        for batch in range(first, first + count):
            write_batch(library, batch)
            os.write(1, b"done %d\n" % batch)
            if batch % 5 == 4:
                gone = library.key_of(content_id(batch * BATCH))
                library.remove([gone])
                os.write(1, b"gone %d\n" % (batch * BATCH))
                library.gc()
            elif batch % 3 == 2:
                library.compact()
            if len(sys.argv) > 5:
                from lightmeter.library.exchange import export

                export(library, Path(sys.argv[5]) / f"out-{batch}")


if __name__ == "__main__":
    main()
