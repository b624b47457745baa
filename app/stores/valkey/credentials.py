"""The credentials for a Valkey server: a password that may change while the proxy runs."""

from pathlib import Path

from valkey.credentials import CredentialProvider


class PasswordFile(CredentialProvider):
    """Reads a user's password or token from a file, again for every new connection.

    The file may be a mounted secret, or a file in which another process renews short-lived tokens.
    Line ends at the end of the file are not part of the password.
    """

    def __init__(self, path: Path, username: str) -> None:
        self._path = path
        self._username = username

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the arguments of the command AUTH: user name and password, or only the password.

        Raises OSError if the file cannot be read.
        """
        password = self._path.read_text(errors="replace").rstrip("\r\n")
        return (self._username, password) if self._username else (password,)
