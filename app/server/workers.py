"""Starts, replaces and stops several worker processes that serve the same listening sockets."""

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from tempfile import TemporaryDirectory
from types import FrameType

from app.core.errors import ConfigurationError
from app.core.logs import configure_logging
from app.core.metrics import FOLDER, forget_process
from app.main import create_app
from app.server.connections import ConnectionLimits
from app.server.uvicorn_server import Server, run_server
from app.settings import Settings

_PAUSE = 1.0  # seconds before a worker that died is replaced
_REFUSED = 2  # the exit code of a worker with wrong settings, for which a restart is useless

_logger = logging.getLogger("reprise")


class Workers:
    """Runs `settings.workers` worker processes until SIGINT or SIGTERM arrives.

    A worker that ends is replaced. There is one exception: if a worker cannot start because a
    setting is invalid, all workers are stopped.
    """

    def __init__(self, settings: Settings, sockets: Sequence[socket.socket]) -> None:
        self._settings = settings
        self._sockets = sockets
        self._processes: list[SpawnProcess] = []
        self._is_stopping = False
        self._exit_code = 0
        self._folder = ""

    def run(self) -> int:
        """Run the workers until all of them have ended; return the exit code for this process.

        The workers share a temporary folder for metrics, if one can be created.
        """
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(TemporaryDirectory(prefix="reprise-metrics-"))
            except OSError as error:
                told = error.strerror
                _logger.warning(
                    "no temporary folder (%s): /metrics only counts the worker that answers", told
                )
            else:
                # The metrics library reads this variable when a worker imports the library.
                self._folder = os.environ[FOLDER] = folder
            return self._run()

    def _run(self) -> int:
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
        # Spawned, not forked: a forked process would lack the threads of this process.
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=_work, args=(self._settings, self._sockets))
        process.start()
        self._processes.append(process)
        if self._is_stopping:  # a signal arrived while this worker started
            process.terminate()

    def _replace(self, process: SpawnProcess) -> None:
        process.join()
        if self._folder:
            forget_process(process.pid or 0, self._folder)
        if process.exitcode == _REFUSED:
            self._exit_code = _REFUSED
            self._stop()
        if self._is_stopping:
            return
        _logger.error(
            "a worker process ended with exit code %s; starting another one", process.exitcode
        )
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
    """Wait until the parent process has ended, then shut this worker down gracefully."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
