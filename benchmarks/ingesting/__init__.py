"""The parts of `benchmarks/ingest.py`, one question a file."""
