"""Reads keys from a file, and reads them again when the file has changed.

For example, a container platform may mount a secret as a file and replace the file later.
"""

import logging
import re
import time
from pathlib import Path

from app.core.errors import ConfigurationError
from app.core.models import Clock

_PAUSE = 1.0  # seconds between two checks of the file
_VISIBLE = re.compile(r"[!-~]+")

_logger = logging.getLogger("reprise")

_Signature = tuple[int, int, int]


class KeyFile:
    """The keys in a file, one per line. Empty lines and lines that begin with `#` are ignored.

    The constructor raises ConfigurationError if the file cannot be used. If the file becomes
    unusable later, the keys that were read last stay valid. `most` is the greatest number of keys
    allowed. `setting` is the name of the setting that contains `path`, for error messages and logs.
    Keys are never logged.
    """

    def __init__(
        self, path: Path, setting: str, clock: Clock = time.time, *, most: int | None = None
    ) -> None:
        self._path = path
        self._setting = setting
        self._clock = clock
        self._most = most
        self._looked_at = clock()
        self._is_bad = False
        try:
            self._seen = self._signature()
            self._keys = self._read()
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{setting}={path}: {_reason(error)}") from None

    def keys(self) -> tuple[str, ...]:
        """Return the current keys. Until they change, each call returns the same tuple object."""
        now = self._clock()
        if abs(now - self._looked_at) >= _PAUSE:  # a clock may be set back
            self._looked_at = now
            self._look()
        return self._keys

    def _look(self) -> None:
        try:
            seen = self._signature()
            if seen == self._seen and not self._is_bad:
                return
            keys = self._read()
        except (OSError, ValueError) as error:
            if not self._is_bad:
                self._is_bad = True
                told = (self._setting, self._path, _reason(error))
                _logger.warning("%s=%s: %s; the previous keys stay valid", *told)
            return
        self._seen, self._is_bad = seen, False
        if keys != self._keys:
            self._keys = keys
            _logger.info("%s=%s has changed: read %d keys", self._setting, self._path, len(keys))

    def _signature(self) -> _Signature:
        """Return the file's modification time in nanoseconds, its inode, and its size in bytes.

        If the file changes, at least one of these values changes.
        """
        found = self._path.stat()
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _read(self) -> tuple[str, ...]:
        """Return the keys in the file. Raises OSError or ValueError, with no key in the message."""
        lines = (line.strip() for line in self._path.read_text(errors="replace").splitlines())
        keys = tuple(line for line in lines if line and not line.startswith("#"))
        if not keys:
            raise ValueError("it contains no key")
        if not all(map(_VISIBLE.fullmatch, keys)):
            raise ValueError("each line must be a key of visible ASCII characters")
        if self._most is not None and len(keys) > self._most:
            raise ValueError(f"it contains more than {self._most} key")
        return keys


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or "it cannot be read") if isinstance(error, OSError) else str(error)
