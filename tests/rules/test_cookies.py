import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.models import ClientRequest, Header
from app.dialects.chat_completions.request import ChatRequest
from app.rules import cookies
from app.rules.key import Isolation, KeyRules, build_key

BODY = b'{"model":"m","messages":[{"role":"user","content":"What is Valkey?"}]}'
ANN: Header = (b"authorization", b"Bearer sk-ann")
RULES = KeyRules("https://upstream.test/v1")

BALANCING = """
    AWSALB AWSALBCORS AWSALBTG AWSELB __cf_bm __cflb __cfruid _cfuvid ARRAffinity
    ARRAffinitySameSite ApplicationGatewayAffinity ASLBSA GCLB SERVERID BIGipServerpool_a
    citrix_ns_id citrix_ns_id_.a.test_%2F_wat incap_ses_1_2 visid_incap_1 nlbi_1 ROUTEID BALANCEID
    INGRESSCOOKIE route stickounet DO-LB X-Oracle-BMC-LBS-Route
"""
PERSONS = """
    session JSESSIONID PHPSESSID connect.sid cf_clearance CF_Authorization
    AWSELBAuthSessionCookie-0 awsalb aROUTEID NSC_AAAC
"""


def partition(*headers: Header, rules: KeyRules = RULES) -> str:
    request = ClientRequest("POST", b"/chat/completions", b"", list(headers), BODY)
    return build_key(request, ChatRequest.parse(BODY), rules).partition


def cookie(value: str) -> Header:
    return (b"cookie", value.encode())


@pytest.mark.parametrize("name", BALANCING.split())
def test_what_balances_load_is_nobody_beside_another_credential(name: str) -> None:
    assert partition(ANN, cookie(f"{name}=1")) == partition(ANN)
    assert partition(ANN, cookie(f"{name}=1; a=b;{name}=2")) == partition(ANN, cookie("a=b"))
    assert partition(cookie(f"session=a; {name}=1")) == partition(cookie("session=a"))


@pytest.mark.parametrize("name", BALANCING.split())
def test_alone_even_that_may_be_who_asks(name: str) -> None:
    told = {partition(*headers) for headers in ([], [cookie(f"{name}=1")], [cookie(f"{name}=2")])}
    assert len(told) == 3


@pytest.mark.parametrize("name", PERSONS.split())
def test_every_other_cookie_tells_who_asks(name: str) -> None:
    sent = ([ANN], [ANN, cookie(f"{name}=1")], [ANN, cookie(f"{name}=2; AWSALB=3")])
    assert len({partition(*headers) for headers in sent}) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a=1; a=2", "a=2; a=1"),
        ("a=1; a=2", "a=3; a=2"),
        ("a=1; a=2", "a=1; a=3"),
        ('a="x; AWSALB=1"', 'a="x; AWSALB=2"'),
        ("AWSALB", "a"),
        ("a", "b"),
        ("=a", "=b"),
    ],
)
def test_cookies_that_may_be_read_differently_are_different(one: str, other: str) -> None:
    assert partition(ANN, cookie(one)) != partition(ANN, cookie(other))


def test_the_order_of_different_cookies_and_their_lines_do_not_matter() -> None:
    one = partition(ANN, cookie("b=2; a=1"))
    assert one == partition(ANN, cookie("a=1;b=2"))
    assert one == partition(ANN, cookie("a=1"), cookie("b=2"))


def test_an_operator_says_which_cookies_count() -> None:
    ignoring = KeyRules(RULES.upstream, ignored_cookies=frozenset({b"seen"}))
    assert partition(ANN, cookie("seen=1"), rules=ignoring) == partition(ANN, rules=ignoring)
    assert partition(cookie("seen=1"), rules=ignoring) == partition(rules=ignoring)
    for isolation in Isolation:
        naming = KeyRules(
            RULES.upstream,
            isolation,
            ignored_cookies=frozenset({b"route"}),
            key_cookies=frozenset({b"route"}),
        )
        told = {partition(ANN, cookie(f"route={n}; AWSALB={n}"), rules=naming) for n in (1, 2)}
        assert len(told) == 2
        assert partition(ANN, cookie("AWSALB=1"), rules=naming) == partition(ANN, rules=naming)


@given(st.lists(st.text('ab=;" ').map(str.encode), max_size=3))
def test_splitting_loses_nothing_but_white_space(lines: list[bytes]) -> None:
    told = b"".join(cookies.split(lines))
    kept = [byte for byte in b"".join(lines) if byte not in b"; "]
    assert sorted(byte for byte in told if byte not in b"; ") == sorted(kept)
