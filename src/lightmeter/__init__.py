"""Visual AI, metered: what a good answer costs in compute, and the cheapest one that is good enough."""

__version__ = "0.1.0"
