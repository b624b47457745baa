"""Reads the operator's TOML files."""

import tomllib
from pathlib import Path
from typing import Any

from app.core.errors import ConfigurationError


def read_toml(path: str, named: str) -> dict[str, Any]:
    """Return the document in a TOML file.

    Raises ConfigurationError if the file cannot be read or is not valid TOML. In the
    error's text, `named` stands for the file.
    """
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{named} cannot be read: {error.strerror}") from None
    except ValueError as error:  # invalid TOML or UTF-8
        raise ConfigurationError(f"{named} is not valid TOML: {error}") from None
