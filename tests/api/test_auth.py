"""Which API keys the proxy accepts."""

import pytest

from app.api.auth import ApiKeys
from app.core.models import Header

KEYS = ApiKeys(["sk-right", "sk-ü"])


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer sk-right"),
        (b"authorization", b" bearer   sk-right "),
        (b"authorization", "Bearer sk-ü".encode()),
        (b"api-key", b"sk-right"),
        (b"x-api-key", b" sk-right "),
    ],
)
def test_a_key_is_known_wherever_clients_present_it(header: Header) -> None:
    assert KEYS.knows([(b"authorization", b"Bearer sk-wrong"), header])


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"sk-right"),
        (b"authorization", b"Basic sk-right"),
        (b"authorization", b"Bearer sk-right2"),
        (b"authorization", b"Bearer sk-right, sk-right"),
        (b"authorization", b"Bearer"),
        (b"api-key", b""),
        (b"cookie", b"sk-right"),
        (b"proxy-authorization", b"Bearer sk-right"),
    ],
)
def test_nothing_else_is(header: Header) -> None:
    assert not KEYS.knows([header])
    assert not KEYS.knows([])


def test_where_there_are_no_keys_none_is_known() -> None:
    assert not ApiKeys([])
    assert not ApiKeys([]).knows([(b"api-key", b"")])
