"""Converts in a process that kills itself after some shards: `python convert_killer.py SOURCE OUT SHARDS`."""

import os
import signal
import sys

from lightmeter.library.yt8m.convert import Conversion, convert
from lightmeter.library.yt8m.records import Schema

HOW = Conversion(schema=Schema(20), shard_items=4)


def main():
    left = [int(sys.argv[3])]

    def count(items, left_out):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    convert([sys.argv[1]], sys.argv[2], HOW, progress=count)


if __name__ == "__main__":
    main()
