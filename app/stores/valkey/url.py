"""Parses the store's URL: a Valkey server's address, credentials and options. Pure."""

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import parse_qsl, unquote, urlsplit

_PORT = 6379
_USERINFO = re.compile(r"//.*@")
_OPTIONS = MappingProxyType(
    {
        "valkey": set[str](),
        "valkeys": {"ca"},
        "unix": {"db"},
        "valkey+cluster": {"reads"},
        "valkeys+cluster": {"ca", "reads"},
    }
)
_OPTION = re.compile(r"(?i)(password=)[^&#]*")


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a server, or of any node of a cluster.

    For a Unix socket, `path` is set. For other addresses, `host` and `port` are set, and `path` is
    empty. `ca` is the path of a file with certificates, or empty. `password_file` is the path of a
    file with the password, or empty. `reads_replicas` says whether entries of a cluster may be read
    from replicas.
    """

    host: str
    port: int
    path: str
    database: int
    username: str
    password: str = field(repr=False)
    is_encrypted: bool
    ca: str
    password_file: str = ""
    is_cluster: bool = False
    reads_replicas: bool = False


def address_of(url: str) -> Address:
    """Parse a URL. It begins with valkey://, valkeys:// (TLS) or unix://.

    For a cluster, it begins with valkey+cluster:// or valkeys+cluster://. Raises ValueError if the
    URL is invalid.
    """
    parts = urlsplit(url)
    if parts.scheme not in _OPTIONS or parts.fragment:
        raise ValueError("not the URL of a Valkey")
    query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    if set(query) - _OPTIONS[parts.scheme] - {"password_file"} or "" in query.values():
        raise ValueError("an option that is not known")
    if parts.password and "password_file" in query:
        raise ValueError("two passwords")
    scheme, _, kind = parts.scheme.partition("+")
    is_unix, is_cluster = scheme == "unix", kind == "cluster"
    if is_unix:
        database = query.get("db", "0")
        if parts.hostname or not parts.path.strip("/"):
            raise ValueError("not the path of a socket")
    else:
        database = parts.path.removeprefix("/") or "0"
        if not parts.hostname or parts.port == 0:
            raise ValueError("no host")
    if not database.isascii() or not database.isdecimal():
        raise ValueError("a database is a number")
    if is_cluster and int(database):
        raise ValueError("a cluster has no other database")
    if query.get("reads", "replicas") != "replicas":
        raise ValueError("not where reads may go")
    return Address(
        host=parts.hostname or "",
        port=parts.port or _PORT,
        path=unquote(parts.path) if is_unix else "",
        database=int(database),
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        is_encrypted=scheme == "valkeys",
        ca=query.get("ca", ""),
        password_file=query.get("password_file", ""),
        is_cluster=is_cluster,
        reads_replicas="reads" in query,
    )


def masked(url: str) -> str:
    """Return `url` for logs, with `***` in place of any user name and password."""
    return _OPTION.sub(r"\1***", _USERINFO.sub("//***@", url))
