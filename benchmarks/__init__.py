"""Measurements and long-running trials, started by hand: `python -m benchmarks.<name>`."""
