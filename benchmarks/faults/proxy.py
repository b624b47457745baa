"""A proxy in its own process, whose clock can be set: `python -m benchmarks.faults.proxy`.

Its settings are environment variables. SIGUSR1 sets its clock back by an hour, and SIGUSR2 sets it
forward by an hour.
"""

import signal
import time

from app.adapters import adapters_for
from app.configuration import load_settings
from app.core.logs import configure_logging
from app.main import create_app
from app.server.connections import ConnectionLimits
from app.server.uvicorn_server import Server, listen, run_server, url_of

_HOUR = 3600.0


class Clock:
    """The system's time plus an offset, which signals change."""

    def __init__(self) -> None:
        self._offset = 0.0
        signal.signal(signal.SIGUSR1, lambda *_: self._shift(-_HOUR))
        signal.signal(signal.SIGUSR2, lambda *_: self._shift(_HOUR))

    def __call__(self) -> float:
        return time.time() + self._offset

    def _shift(self, seconds: float) -> None:
        self._offset += seconds


def main() -> None:
    """Run the proxy until a signal ends it. Print its URL."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    app = create_app(settings, adapters_for(settings, clock=Clock()))
    with listen(settings.host, settings.port) as sock:
        say = f"{url_of(sock)}\n"
        limits = ConnectionLimits.of(settings)
        run_server(Server(app, 1, lambda: print(say, end="", flush=True), limits), sock)


if __name__ == "__main__":
    main()
