"""A Valkey's URL."""

import pytest

from app.stores.valkey.url import Address, address_of, masked

LOCAL = Address("127.0.0.1", 6379, "", 0, "", "", is_encrypted=False, ca="")


def address(**changes: object) -> Address:
    fields = {name: getattr(LOCAL, name) for name in Address.__slots__}
    return Address(**{**fields, **changes})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("valkey://127.0.0.1", {}),
        ("valkey://127.0.0.1:6379/0", {}),
        ("valkey://127.0.0.1/", {}),
        ("valkey://db:7000/3", {"host": "db", "port": 7000, "database": 3}),
        ("valkey://[::1]:7000", {"host": "::1", "port": 7000}),
        ("valkey://:secret@127.0.0.1", {"password": "secret"}),
        ("valkey://me:p%40ss%2F@127.0.0.1", {"username": "me", "password": "p@ss/"}),
        (
            "valkey://me@127.0.0.1?password_file=/run/pw",
            {"username": "me", "password_file": "/run/pw"},
        ),
        ("unix:///a?db=0&password_file=pw", {"host": "", "path": "/a", "password_file": "pw"}),
        ("valkeys://127.0.0.1", {"is_encrypted": True}),
        ("valkeys://127.0.0.1?ca=/etc/ca.pem", {"is_encrypted": True, "ca": "/etc/ca.pem"}),
        ("valkey+cluster://127.0.0.1", {"is_cluster": True}),
        ("valkey+cluster://127.0.0.1/0", {"is_cluster": True}),
        (
            "valkey+cluster://127.0.0.1?reads=replicas",
            {"is_cluster": True, "reads_replicas": True},
        ),
        (
            "valkeys+cluster://me:secret@db:7000?ca=/ca.pem&reads=replicas",
            {
                "host": "db",
                "port": 7000,
                "username": "me",
                "password": "secret",
                "is_encrypted": True,
                "ca": "/ca.pem",
                "is_cluster": True,
                "reads_replicas": True,
            },
        ),
        ("unix:///run/valkey.sock", {"host": "", "path": "/run/valkey.sock"}),
        (
            "unix://me:secret@/run/a%20b?db=2",
            {"host": "", "path": "/run/a b", "database": 2, "username": "me", "password": "secret"},
        ),
    ],
)
def test_a_url_says_where_and_who(url: str, expected: dict[str, object]) -> None:
    assert address_of(url) == address(**expected)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "valkey",
        "redis://a",
        "valkey+cluster://a/1",
        "valkey+cluster://a?reads=primaries",
        "valkey+cluster://a?ca=b",
        "valkey+sentinel://a",
        "unix+cluster:///a",
        "valkey://a?reads=replicas",
        "valkey://",
        "valkey://a:0",
        "valkey://a:99999",
        "valkey://a/one",
        "valkey://a/-1",
        "valkey://a/²",
        "valkey://a#b",
        "valkey://a?ca=b",
        "valkey://a?db=1",
        "valkey://a?password_file=",
        "valkey://:secret@a?password_file=/run/pw",
        "valkeys://a?ca=",
        "valkeys://a?ca",
        "valkeys://a?insecure=1",
        "unix://run/valkey.sock",
        "unix:///",
        "unix:///a?db=b",
        "unix:///a?password=b",
    ],
)
def test_what_is_no_such_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        address_of(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("valkey://a:6379/0", "valkey://a:6379/0"),
        ("valkey://me:secret@a/0", "valkey://***@a/0"),
        ("valkey://:sec/ret@a@b/0", "valkey://***@b/0"),
        ("unix:///a?db=1&password=secret&x=y", "unix:///a?db=1&password=***&x=y"),
    ],
)
def test_a_shown_url_holds_no_secret(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_the_password_is_not_part_of_what_an_address_looks_like() -> None:
    assert "secret" not in repr(address_of("valkey://:secret@a"))
