"""A run in a process of its own, to be interrupted or killed: python engine_runner.py FOLDER COUNT SLEEP_S DIARY"""

import json
import sys
from pathlib import Path

from engine_toys import Square, TableSink, tasks_of

from lightmeter.engines import Ledger, Local, run


def main() -> None:
    folder, count, sleep_s, diary = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])
    with Ledger.open(folder, wait_s=10) as ledger:
        sink = TableSink(ledger.connection)
        stage = Square(sleep_s=sleep_s, diary=diary)

        def tell(event):
            sys.stdout.write(json.dumps(event.as_json()) + "\n")
            sys.stdout.flush()

        report = run(stage, tasks_of(count), sink, ledger=ledger, engine=Local(2), batch_size=4, events=tell)
        sys.stdout.write(json.dumps(report.as_json()) + "\n")


if __name__ == "__main__":
    main()
