"""Measurements and long tests, which a person starts with `python -m benchmarks.<name>`."""
