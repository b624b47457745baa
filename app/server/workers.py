"""Several processes that serve on one listening socket: started, replaced, told to stop."""

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from app.core.errors import ConfigurationError
from app.core.logs import configure_logging
from app.main import create_app
from app.server.connections import ConnectionLimits
from app.server.uvicorn_server import Server, run_server
from app.settings import Settings

_PAUSE = 1.0  # seconds before one that died is replaced
_REFUSED = 2  # the exit code of a start that is refused, and would be again

_logger = logging.getLogger("reprise")


class Workers:
    """Runs `settings.workers` processes until it is told to stop, or none can start."""

    def __init__(self, settings: Settings, sockets: Sequence[socket.socket]) -> None:
        self._settings = settings
        self._sockets = sockets
        self._processes: list[SpawnProcess] = []
        self._is_stopping = False
        self._exit_code = 0

    def run(self) -> int:
        """Run them, and return the exit code of the whole."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        for _ in range(self._settings.workers):
            self._start()
        while self._processes:
            ended = wait([process.sentinel for process in self._processes])
            for process in [p for p in self._processes if p.sentinel in ended]:
                self._processes.remove(process)
                self._replace(process)
        return self._exit_code

    def _start(self) -> None:
        # Not forked: the threads of this process would be missing in the other.
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=_work, args=(self._settings, self._sockets))
        process.start()
        self._processes.append(process)
        if self._is_stopping:  # it was told to while this one started
            process.terminate()

    def _replace(self, process: SpawnProcess) -> None:
        process.join()
        if process.exitcode == _REFUSED:
            self._exit_code = _REFUSED
            self._stop()
        if self._is_stopping:
            return
        _logger.error("a worker ended with %s and is replaced", process.exitcode)
        time.sleep(_PAUSE)
        self._start()

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        self._stop()

    def _stop(self) -> None:
        self._is_stopping = True
        for process in self._processes:
            process.terminate()


def _work(settings: Settings, sockets: Sequence[socket.socket]) -> None:
    configure_logging(settings.log_level, settings.log_format)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        app = create_app(settings)
    except ConfigurationError as error:
        _logger.error("%s", error)
        sys.exit(_REFUSED)
    limits = (ConnectionLimits.of(settings), settings.admin_port)
    run_server(Server(app, settings.shutdown_timeout, lambda: None, *limits), *sockets)


def _end_with_parent() -> None:
    """End in good order if the process that started this one is gone."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
