"""Index a folder and ask it, from Python: python examples/find_pictures.py FOLDER "a cat"."""

import sys
import tempfile
from pathlib import Path

from lightmeter.library.indexing import index
from lightmeter.library.searching import search
from lightmeter.library.store import open_library
from lightmeter.meter.cost import measure


def main(folder: Path, query: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        with measure() as indexing:
            done = index([folder], Path(place) / "library")
        print(f"{done.items} items · {indexing.cost.text()}")
        with open_library(Path(place) / "library") as library, measure() as asking:
            answer = search(library, query)
        for hit in answer.hits:
            print(f"{hit.score:.3f} {hit.path} ({hit.evidence})")
        for source in answer.sources:
            print(f"{source.evidence}: near enough from {source.null.threshold:.3f}, {source.null.said()}")
        print(asking.cost.text())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
