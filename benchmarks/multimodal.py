"""Learning, reading and scoring at YouTube-8M's scale, against protobuf, numpy and straightforward torch.

    python benchmarks/multimodal.py [--only training|records|metrics …]

`training`: MoE-2 on 1,152 dimensions and 4,716 classes against the straightforward way and its products alone, one
shard of MoE-32 on 6,272 dimensions, and whether reading keeps up
`records`: TFRecords of frames and of videos against protobuf, rows of a set
`metrics`: GAP of 1.4 million videos, the top 20 of 4,716 scores
One thread, CPU seconds, medians of interleaved rounds; made-up data: speed and memory only. About ten minutes and 3 GB.
Each part is a program of its own, in a process of its own, and writes docs/results/multimodal-*.json.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE.parent / "docs" / "results"
PARTS = {
    "training": ["training.py", str(RESULTS / "multimodal-training.json")],
    "records": ["records.py"],
    "metrics": ["metrics.py", str(RESULTS)],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    for part in parser.parse_args().only:
        print(f"-- {part}", flush=True)
        file, *arguments = PARTS[part]
        subprocess.run([sys.executable, str(HERE / "multimodaling" / file), *arguments], check=True)


if __name__ == "__main__":
    main()
