"""Fuzz one reader of untrusted bytes, guided by code coverage, until it fails.

    pip install atheris
    python -m benchmarks.fuzz TARGET [-max_total_time=60 and other options of libFuzzer]

Without a target, the command lists all targets. `tests/project/test_fuzz.py` tries the same readers
with fewer inputs and without code coverage.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["app"]):
    from tests.fuzzing import TARGETS


def main() -> None:
    """Fuzz until the time limit is reached or a bug is found."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in TARGETS:
        raise SystemExit("\n".join(TARGETS))
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(TARGETS[name].seeds):
            (Path(folder) / str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], *sys.argv[2:], folder], TARGETS[name].reads)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
