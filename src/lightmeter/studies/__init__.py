"""Comparisons that are declared and run: the demo, and what this machine can do."""
