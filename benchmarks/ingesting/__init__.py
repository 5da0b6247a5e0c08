"""The parts of `benchmarks/ingest.py`, one question a file. Importing it sets one thread for everything."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LIGHTMETER_THREADS"):
    os.environ[_name] = "1"  # read when numpy, OpenCV and torch are imported
