"""Who a proxy says it is to a Valkey: a password that may change while the proxy runs."""

from pathlib import Path

from valkey.credentials import CredentialProvider


class PasswordFile(CredentialProvider):
    """A user's password, or a token in its place, read anew for every connection.

    Whatever renews the file is not our affair: a secret that is mounted, or a process beside us
    that writes short-lived tokens. The line end that an editor leaves is no part of it.
    """

    def __init__(self, path: Path, username: str) -> None:
        self._path = path
        self._username = username

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return what AUTH takes. Raises OSError where the file cannot be read."""
        password = self._path.read_text(errors="replace").rstrip("\r\n")
        return (self._username, password) if self._username else (password,)
