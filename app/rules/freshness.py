"""How long an answer lives, and when it may serve: fresh, stale, or instead of an error.

Rules of this file: what a client asks for never reaches further than what the operator allows;
where two readings are possible, the stricter one counts.
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
_DAYS_BEGIN = 900.0  # seconds: time zones differ by quarters of an hour


def may_answer(stored: Aging, control: CacheControl, now: float) -> bool:
    """Whether a stored response may be served without asking again (RFC 9111 §4.2, §5.2.1)."""
    if control.no_cache or not stored.is_fresh(now):
        return False
    if control.max_age is not None and stored.age(now) > control.max_age:
        return False
    return control.min_fresh is None or stored.ttl(now) >= control.min_fresh


def may_answer_stale(stored: Aging, control: CacheControl, limits: Limits, now: float) -> bool:
    """Whether a stale response may be served while a newer one is fetched.

    The operator's `stale_while_revalidate` allows it (RFC 5861 §3), or the client's `max-stale`,
    which reaches as far as the longest of the operator's windows; where both speak, both must
    agree. `min-fresh`, and `max-age` without `max-stale`, forbid it (RFC 9111 §5.2.1).
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

    With `stale-if-error` of the client, however old it is otherwise, as far as the longest of the
    operator's windows. Without, the operator's `stale_if_error` allows it, but not to a client
    that asked for something fresher by `max-age`, `min-fresh` or `max-stale`.
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
    """Whether a response is fresh, or stale within a window and its own stale lifetime."""
    if stored.is_fresh(now):
        return True
    return window > 0 and -stored.ttl(now) <= window and stored.left(now) > 0


def is_failure(status_code: int) -> bool:
    """Whether the upstream's answer says that it cannot answer now."""
    return status_code == _TOO_MANY_REQUESTS or status_code >= _SERVER_ERRORS


def freshness_lifetime(headers: Sequence[Header], limits: Limits, *, is_stream: bool) -> float:
    """Return for how many seconds an answer stays fresh; 0 means that it must not be stored.

    Streams are exempt from the upstream's Cache-Control: frameworks set `no-cache` on all of them.
    """
    if is_stream:
        return limits.ttl
    control = cache_control(headers)
    if control.no_store:
        return 0.0
    return limits.ttl if control.max_age is None else min(limits.ttl, control.max_age)


def stale_lifetime(headers: Sequence[Header], limits: Limits, *, is_stream: bool) -> float:
    """Return for how many seconds an answer is kept after it has become stale.

    0 if the upstream forbids to serve it stale, by `must-revalidate` (RFC 9111 §5.2.2.2).
    """
    if not is_stream and cache_control(headers).must_revalidate:
        return 0.0
    return limits.stale_lifetime


def limits_for(
    limits: Limits, asked_ttl: float | None, time_bound: TimeBound = TimeBound.NONE
) -> Limits:
    """Return the limits of one request, which may ask for a freshness lifetime of its own.

    A time-bound answer lives no longer than `volatile_ttl`, and never stale.
    """
    if asked_ttl is not None:
        limits = replace(limits, ttl=min(max(asked_ttl, limits.min_ttl), limits.max_ttl))
    if not time_bound:
        return limits
    ttl = min(limits.ttl, limits.volatile_ttl)
    return replace(limits, ttl=ttl, stale_while_revalidate=0.0, stale_if_error=0.0)


def bound(control: CacheControl, time_bound: TimeBound, limits: Limits, now: float) -> CacheControl:
    """Return the Cache-Control of a request, made stricter if its question is bound to its time.

    A time-bound question may be near one that is not, and whose answer lives longer.
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
    """Return the time from which an answer serves nobody, whatever its lifetime.

    An answer about a day ends with that day. At each quarter of an hour a day ends somewhere, and
    nobody knows where the caller is: it is the next one.
    """
    if time_bound is not TimeBound.DAY:
        return math.inf
    return asked_at - asked_at % _DAYS_BEGIN + _DAYS_BEGIN
