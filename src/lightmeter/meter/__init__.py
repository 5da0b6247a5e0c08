"""What an answer costs: measured costs, trials, frontiers, records, benchmarks and the machine they ran on."""

from lightmeter.meter.bench import Bench, bench_rows, run_bench
from lightmeter.meter.cost import NOTHING, Cost, Meter, measure
from lightmeter.meter.machine import machine
from lightmeter.meter.record import Record, hash_of, read_results, write_results
from lightmeter.meter.roofline import Roof, Roofline, roofline
from lightmeter.meter.trials import Frontier, Spread, Trial, choose, run_trials

__all__ = [
    "NOTHING",
    "Bench",
    "Cost",
    "Frontier",
    "Meter",
    "Record",
    "Roof",
    "Roofline",
    "Spread",
    "Trial",
    "bench_rows",
    "choose",
    "hash_of",
    "machine",
    "measure",
    "read_results",
    "roofline",
    "run_bench",
    "run_trials",
    "write_results",
]
