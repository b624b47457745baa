"""Measurements and long trials, each run by hand: `python -m benchmarks.<name>`."""
