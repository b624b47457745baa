"""Which cookies identify a caller, and which only keep a client on the same server.

Rules of this file: a Cookie header is split at semicolons (RFC 6265 §4.2.1). The standard library
parses it into a mapping, which has only one cookie of each name. With a mapping, two callers could
look like one. A header with quotes is kept whole, because parsers read quotes in different ways.
"""

from collections.abc import Iterable, Iterator

from app.rules.neutral_headers import row

BALANCING = (
    row(
        "AWSALB AWSALBCORS AWSALBTG AWSALBTGCORS AWSELB AWSELBCORS",
        "Amazon",
        "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html",
    ),
    row(
        "__cf_bm __cflb __cfruid _cfuvid",
        "Cloudflare",
        "https://developers.cloudflare.com/fundamentals/reference/policies-compliances/cloudflare-cookies/",
    ),
    row(
        "ARRAffinity ARRAffinitySameSite ApplicationGatewayAffinity ApplicationGatewayAffinityCORS "
        "ASLBSA ASLBSACORS",
        "Azure",
        "https://learn.microsoft.com/azure/app-service/, "
        "https://learn.microsoft.com/azure/application-gateway/, "
        "https://learn.microsoft.com/azure/frontdoor/",
    ),
    row(
        "GCLB GAESA",
        "Google",
        "https://cloud.google.com/load-balancing/docs/backend-service#generated_cookie_affinity",
    ),
    row(
        "X-Oracle-BMC-LBS-Route",
        "Oracle",
        "https://docs.oracle.com/iaas/Content/Balance/Reference/sessionpersistence.htm",
    ),
    row(
        "DO-LB",
        "DigitalOcean",
        "https://docs.digitalocean.com/products/networking/load-balancers/",
    ),
    row(
        "HCLBSTICKY",
        "Hetzner",
        "https://docs.hetzner.cloud/",
    ),
    row(
        "heroku-session-affinity",
        "Heroku",
        "https://devcenter.heroku.com/articles/session-affinity",
    ),
    row(
        "SERVERID",
        "HAProxy",
        "https://docs.haproxy.org/3.0/configuration.html#cookie",
    ),
    row(
        "ROUTEID BALANCEID",
        "Apache",
        "https://httpd.apache.org/docs/2.4/mod/mod_proxy_balancer.html",
    ),
    row(
        "route srv_id",
        "nginx",
        "https://nginx.org/en/docs/http/ngx_http_upstream_module.html#sticky",
    ),
    row(
        "INGRESSCOOKIE stickounet",
        "ingress-nginx",
        "https://kubernetes.github.io/ingress-nginx/examples/affinity/cookie/",
    ),
    row(
        "_TRAEFIK_BACKEND",
        "Traefik",
        "https://doc.traefik.io/traefik/v1.7/basics/#sticky-sessions",
    ),
    row(
        "BIGipServer*",
        "F5",
        "https://my.f5.com/manage/s/article/K6917",
    ),
    row(
        "citrix_ns_id*",
        "NetScaler",
        "https://docs.netscaler.com/en-us/citrix-adc/",
    ),
    row(
        "incap_ses_* visid_incap_* nlbi_*",
        "Imperva",
        "https://docs.imperva.com/",
    ),
    row(
        "akaalb_* ak_bmsc bm_sv bm_sz bm_mi",
        "Akamai",
        "https://techdocs.akamai.com/",
    ),
)
"""Cookies for load balancing or bot detection, by service. A name that ends with `*` is a prefix.

Cookies that grant access or identify a session are not listed: `cf_clearance`, `JSESSIONID`,
`AWSELBAuthSessionCookie-0`.
"""

_ALL = tuple(name.encode() for one in BALANCING for name in one.names)
_NAMES = frozenset(name for name in _ALL if not name.endswith(b"*"))
_PREFIXES = tuple(name.removesuffix(b"*") for name in _ALL if name.endswith(b"*"))


def balances_load(cookie: bytes) -> bool:
    """Whether a cookie, given as `name=value`, serves only load balancing or bot detection."""
    name = name_of(cookie)
    return name in _NAMES or name.startswith(_PREFIXES)


def name_of(cookie: bytes) -> bytes:
    """Return the name of a cookie, which is given as `name=value`.

    The result is empty if the cookie has no name or contains quotes.
    """
    name, separator, _ = cookie.partition(b"=")
    return name.strip() if separator and b'"' not in cookie else b""


def split(lines: Iterable[bytes]) -> list[bytes]:
    """Return the cookies in the values of Cookie headers, sorted by name.

    Cookies with the same name keep their order.
    """
    return sorted(_cookies(lines), key=name_of)


def _cookies(lines: Iterable[bytes]) -> Iterator[bytes]:
    for line in lines:
        if b'"' in line:
            yield line
        else:
            yield from filter(None, map(bytes.strip, line.split(b";")))


def telling(cookies: Iterable[bytes], ignored: frozenset[bytes], *, is_alone: bool) -> list[bytes]:
    """Return the cookies that identify a caller, without those named in `ignored`.

    Cookies for load balancing are left out if the request has another credential or a cookie for
    another purpose. Otherwise they are returned, because the upstream may know the caller only by
    the cookies for load balancing. `is_alone`: the request has no credential except cookies.
    """
    told = [cookie for cookie in cookies if name_of(cookie) not in ignored]
    persons = [cookie for cookie in told if not balances_load(cookie)]
    return persons if persons or not is_alone else told
