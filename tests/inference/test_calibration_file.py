"""Files of calibrations: which are accepted, and which are refused."""

import json
from pathlib import Path

import pytest

from app.core.calibration import Calibration
from app.core.errors import ConfigurationError
from app.inference.calibration_file import calibration_for, document_of, read_calibrations
from app.inference.verifier import VERIFIER

_WEIGHTS = [0.5, 2.0, -3.0, 0.5, -0.5, 0.25]
MADE = Calibration(_WEIGHTS, 0.6, [[0.05, 0.9]], 7.5, "probability")  # type: ignore[list-item]


def write(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "own.json", document_of(MADE, "bge-m3/1024", "bge-reranker"))
    assert read_calibrations(path) == {"bge-m3/1024": MADE}
    assert calibration_for(path, "bge-m3/1024", "bge-reranker") == MADE
    plain = write(tmp_path / "plain.json", document_of(MADE, "bge-m3/1024"))
    assert calibration_for(plain, "bge-m3/1024") == MADE


def test_the_file_that_ships_is_one_of_them() -> None:
    (known,) = read_calibrations(VERIFIER / "calibration.json").values()
    assert known.threshold(0.1) < 1
    assert known.scale == "logit"


WHOLE = document_of(MADE, "e")["e"]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"other/8": WHOLE}, "it was made with the embedder other/8, but e is in use"),
        ({}, "it was made with the embedder none, but e is in use"),
        (
            {"e": {**WHOLE, "verifier": "m"}},
            "it was made with REPRISE_VERIFIER_MODEL=m, which is now empty",
        ),
        ([], "it was not made by `reprise calibrate`"),
        ({"e": []}, "it was not made by `reprise calibrate`"),
        ({"e": {}}, "it was not made by `reprise calibrate`"),
        ({"e": {**WHOLE, "more": 1}}, "it was not made by `reprise calibrate`"),
        ({"e": {**WHOLE, "weights": [1, 2]}}, "it was not made by `reprise calibrate`"),
        (
            {"e": {**WHOLE, "weights": ["a", 1, 2, 3, 4, 5]}},
            "it was not made by `reprise calibrate`",
        ),
        ({"e": {**WHOLE, "scale": "stars"}}, "it was not made by `reprise calibrate`"),
        ({"e": {**WHOLE, "sure": None}}, "it was not made by `reprise calibrate`"),
        ({"e": {**WHOLE, "thresholds": [[0.1, 0.5], [0.05, 0.6]]}}, "it was not made by"),
        ({"e": {**WHOLE, "thresholds": [0.1]}}, "it was not made by `reprise calibrate`"),
        ({"e": {**WHOLE, "max_distance": float("nan")}}, "it was not made by `reprise calibrate`"),
    ],
)
def test_another_file_is_refused_in_one_line(tmp_path: Path, document: object, told: str) -> None:
    path = write(tmp_path / "own.json", document)
    with pytest.raises(ConfigurationError) as refused:
        calibration_for(path, "e")
    line = str(refused.value)
    assert line.startswith(f"REPRISE_VERIFIER_CALIBRATION={path} cannot be used: {told}")
    assert "\n" not in line


def test_a_file_that_is_not_there_or_no_json_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        calibration_for(tmp_path / "none.json", "e")
    (tmp_path / "own.json").write_bytes(b"\xff{")
    with pytest.raises(ConfigurationError, match="it was not made by `reprise calibrate`"):
        calibration_for(tmp_path / "own.json", "e")
