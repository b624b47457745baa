"""How long an answer stays fresh, and when it may be served: fresh, stale, or after an error.

Rules of this file: a client can never get more than the operator allows. If a header can be read in
two ways, the stricter one counts.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from app.core.models import Aging, Header
from app.rules.headers import CacheControl, cache_control
from app.rules.limits import Limits
from app.rules.time_bound import TimeBound

_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = 500
_DAYS_BEGIN = 900.0  # seconds; offsets of time zones are multiples of a quarter of an hour


def may_answer(stored: Aging, control: CacheControl, now: float) -> bool:
    """Whether a response may be served without asking the upstream (RFC 9111 §4.2, §5.2.1)."""
    if control.no_cache or not stored.is_fresh(now):
        return False
    if control.max_age is not None and stored.age(now) > control.max_age:
        return False
    return control.min_fresh is None or stored.ttl(now) >= control.min_fresh


def may_answer_stale(stored: Aging, control: CacheControl, limits: Limits, now: float) -> bool:
    """Whether a stale response may be served while a newer one is fetched.

    If the client sends no `max-stale`, the response may be stale for the operator's
    `stale_while_revalidate` (RFC 5861 §3). If the client sends `max-stale`, the response may be
    stale for that many seconds, but at most for the operator's longest stale time. No stale
    response is served to a client that sends `min-fresh`. No stale response is served to a client
    that sends `max-age` without `max-stale` (RFC 9111 §5.2.1).
    """
    if control.no_cache or control.min_fresh is not None:
        return False
    if control.max_stale is None:
        if control.max_age is not None:
            return False
        return _is_within(stored, limits.stale_while_revalidate, now)
    if control.max_age is not None and stored.age(now) > control.max_age:
        return False
    return _is_within(stored, min(control.max_stale, limits.stale_lifetime), now)


def may_stand_in(stored: Aging, control: CacheControl, limits: Limits, now: float) -> bool:
    """Whether a response may be served because the upstream failed (RFC 5861 §4).

    If the client sends `stale-if-error`, the response may be stale for that many seconds, but at
    most for the operator's longest stale time. If the client sends no `stale-if-error`, the
    response may be stale for the operator's `stale_if_error`. There is an exception for a client
    that sends no `stale-if-error` but sends `max-age`, `min-fresh` or `max-stale`. For this client,
    the response may be served only if it could also be served without a failure.
    """
    if control.no_cache:
        return False
    if control.stale_if_error is not None:
        return _is_within(stored, min(control.stale_if_error, limits.stale_lifetime), now)
    if may_answer(stored, control, now) or may_answer_stale(stored, control, limits, now):
        return True
    asked = (control.max_age, control.min_fresh, control.max_stale)
    return asked == (None, None, None) and _is_within(stored, limits.stale_if_error, now)


def _is_within(stored: Aging, window: float, now: float) -> bool:
    """Whether a response is fresh, or has been stale for at most `window` seconds.

    A stale response must also be within its own `stale_lifetime`.
    """
    if stored.is_fresh(now):
        return True
    return window > 0 and -stored.ttl(now) <= window and stored.left(now) > 0


def is_failure(status_code: int) -> bool:
    """Whether a status code means that the upstream cannot answer now: 429 or 5xx."""
    return status_code == _TOO_MANY_REQUESTS or status_code >= _SERVER_ERRORS


def freshness_lifetime(headers: Sequence[Header], limits: Limits, *, is_stream: bool) -> float:
    """Return for how many seconds an answer stays fresh. 0 means that it must not be stored.

    The Cache-Control of a stream is ignored, because frameworks set `no-cache` on every stream.
    """
    if is_stream:
        return limits.ttl
    control = cache_control(headers)
    if control.no_store:
        return 0.0
    return limits.ttl if control.max_age is None else min(limits.ttl, control.max_age)


def stale_lifetime(headers: Sequence[Header], limits: Limits, *, is_stream: bool) -> float:
    """Return for how many seconds an answer is kept after it has become stale.

    The result is 0 if the upstream forbids serving the answer stale, for example by
    `must-revalidate` (RFC 9111 §5.2.2.2). The Cache-Control of a stream is ignored.
    """
    if not is_stream and cache_control(headers).must_revalidate:
        return 0.0
    return limits.stale_lifetime


def limits_for(
    limits: Limits, asked_ttl: float | None, time_bound: TimeBound = TimeBound.NONE
) -> Limits:
    """Return the limits for one request.

    `asked_ttl` is the freshness lifetime in seconds that the request asks for; None if it asks for
    none. A time-bound answer is fresh for at most `volatile_ttl`, and is never served stale.
    """
    if asked_ttl is not None:
        limits = replace(limits, ttl=min(max(asked_ttl, limits.min_ttl), limits.max_ttl))
    if not time_bound:
        return limits
    ttl = min(limits.ttl, limits.volatile_ttl)
    return replace(limits, ttl=ttl, stale_while_revalidate=0.0, stale_if_error=0.0)


def bound(control: CacheControl, time_bound: TimeBound, limits: Limits, now: float) -> CacheControl:
    """Return a request's Cache-Control, made stricter if the request's question is time-bound.

    A hit by meaning may be the answer to a question that is not time-bound. Such an answer may have
    a longer lifetime. With the stricter Cache-Control, the answer is not served if it is too old.
    """
    if not time_bound:
        return control
    oldest = limits.volatile_ttl
    if time_bound is TimeBound.DAY:
        oldest = min(oldest, now % _DAYS_BEGIN)
    if control.max_age is not None:
        oldest = min(oldest, control.max_age)
    return replace(control, max_age=oldest, max_stale=None, stale_if_error=None)


def ends_at(time_bound: TimeBound, asked_at: float) -> float:
    """Return the time, in seconds since 1970, from which an answer must not be served.

    An answer about a day (`today`) is valid until that day ends. The caller's time zone is unknown,
    and at each quarter of an hour a day may end in some time zone. So the result for an answer
    about a day is the next quarter of an hour. For all other answers the result is infinity.
    """
    if time_bound is not TimeBound.DAY:
        return math.inf
    return asked_at - asked_at % _DAYS_BEGIN + _DAYS_BEGIN
