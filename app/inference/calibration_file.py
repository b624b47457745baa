"""Calibration files: the one that Reprise ships, and those that `reprise calibrate` writes.

A file is a JSON object. Its keys are names of embedding models. Each value is an object with the
fields of a Calibration. If the calibration was made for a verifier on a server, the object also has
a field `verifier`, the name of the verifier's model.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from app.core.calibration import FEATURES, Calibration
from app.core.errors import ConfigurationError
from app.dialects.strict_json import JsonObject


def read_calibrations(path: Path) -> Mapping[str, Calibration]:
    """Return a mapping from names of embedders to the calibrations in a file.

    Raises OSError if the file cannot be read, and ValueError or TypeError if its content is
    invalid.
    """
    return {name: _calibration(known) for name, known in _document(path).items()}


def calibration_for(path: Path, embedder: str, verifier: str = "") -> Calibration:
    """Return the calibration for an embedder from an operator's file.

    `verifier` is the model of a verifier on a server. It is empty for the verifier that Reprise
    ships. Raises ConfigurationError, with a one-line message that names the setting, if the file
    cannot be used or has no such calibration.
    """
    try:
        document = _document(path)
        known = {name: _calibration(entry) for name, entry in document.items()}
    except OSError as error:
        raise ConfigurationError(_refused(path, f"{error.strerror}")) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            _refused(path, "it was not made by `reprise calibrate`")
        ) from error
    if embedder not in known:
        told = ", ".join(known) or "none"
        reason = f"it was made with the embedder {told}, but {embedder} is in use"
        raise ConfigurationError(_refused(path, reason))
    if (made_for := document[embedder].get("verifier", "")) != verifier:
        now = verifier or "empty"
        reason = f"it was made with REPRISE_VERIFIER_MODEL={made_for}, which is now {now}"
        raise ConfigurationError(_refused(path, reason))
    return known[embedder]


def document_of(calibration: Calibration, embedder: str, verifier: str = "") -> JsonObject:
    """Return the content of a calibration file that has only this calibration, as a JSON object.

    The parameters `embedder` and `verifier` are as in `calibration_for`.
    """
    of_server = {"verifier": verifier} if verifier else {}
    return {embedder: {**of_server, **asdict(calibration)}}


def _document(path: Path) -> JsonObject:
    document = json.loads(path.read_text("utf-8"))
    if not isinstance(document, dict) or not all(isinstance(e, dict) for e in document.values()):
        raise ValueError("not an object of objects")
    return document


def _calibration(entry: JsonObject) -> Calibration:
    known = {name: value for name, value in entry.items() if name != "verifier"}
    calibration = Calibration(**known)
    numbers = [*calibration.weights, calibration.max_distance, calibration.sure]
    numbers += [number for pair in calibration.thresholds for number in pair]
    if len(calibration.weights) != FEATURES or not all(map(math.isfinite, numbers)):
        raise ValueError("not the figures of a calibration")
    shares = [share for share, _ in calibration.thresholds]
    if calibration.scale not in {"logit", "probability"} or shares != sorted(shares):
        raise ValueError("not a calibration")
    return calibration


def _refused(path: Path, reason: str) -> str:
    return f"REPRISE_VERIFIER_CALIBRATION={path} cannot be used: {reason}"
