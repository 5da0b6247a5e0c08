"""Run a stage over leased batches, inline or in supervised processes; errors are a result."""

from lightmeter.engines.events import Counts, Event, Report
from lightmeter.engines.inline import Inline
from lightmeter.engines.ledger import Ledger
from lightmeter.engines.limits import Limits
from lightmeter.engines.local import Local
from lightmeter.engines.run import run
from lightmeter.engines.stage import Beat, Failure, Result, Sink, Stage, Task

__all__ = [
    "Beat", "Counts", "Event", "Failure", "Inline", "Ledger", "Limits", "Local", "Report", "Result", "Sink", "Stage",
    "Task", "run",
]  # fmt: skip
