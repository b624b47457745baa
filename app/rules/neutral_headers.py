"""Neutral request headers, which proxies, runtimes and tracers add, and their documentation.

Rules of this file: a name is listed only if its documentation says that it describes a connection,
a request or a program, not a person. A header that is the same in all requests to one address need
not be listed. A name that is listed in full is always neutral. A name that begins with a listed
prefix is neutral unless it suggests a person or a credential (`PERSON_OR_DOOR`).
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """Names of headers or cookies that the same program or service adds.

    `names`: the names; one that ends with `*` is a prefix. `added_by`: what adds the headers or
    cookies. `documented`: where they are documented.
    """

    names: tuple[str, ...]
    added_by: str
    documented: str


def row(names: str, added_by: str, documented: str) -> Row:
    """Return a row; spaces separate the names in `names`."""
    return Row(tuple(names.split()), added_by, documented)


TABLE = (
    row(
        "accept accept-charset accept-encoding accept-language cache-control content-encoding "
        "content-language content-length content-location content-type expect host max-forwards "
        "referer user-agent via",
        "clients and proxies, by HTTP",
        "RFC 9110, RFC 9111",
    ),
    row("pragma", "HTTP/1.0 clients", "RFC 9111 §5.4"),
    row("date", "clients with a clock", "RFC 9110 §6.6.1"),
    row("content-disposition", "clients, from MIME", "RFC 6266"),
    row("content-md5 content-transfer-encoding", "clients, from MIME", "RFC 1864, RFC 2045"),
    row("content-digest repr-digest", "clients", "RFC 9530"),
    row("priority", "HTTP/2 and HTTP/3 clients", "RFC 9218"),
    row("early-data", "proxies that take TLS early data", "RFC 8470"),
    row("alt-used", "browsers", "RFC 7838"),
    row("cdn-loop", "content delivery networks", "RFC 8586"),
    row("forwarded", "proxies", "RFC 7239"),
    row("idempotency-key", "SDKs that retry", "draft-ietf-httpapi-idempotency-key-header"),
    row(
        "sec-*",
        "browsers and Node's fetch",
        "Fetch, https://fetch.spec.whatwg.org/#sec-purpose-header",
    ),
    row("dnt", "browsers", "https://www.w3.org/TR/tracking-dnt/"),
    row(
        "device-memory downlink dpr ect rtt save-data upgrade-insecure-requests viewport-width "
        "width",
        "browsers",
        "https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers",
    ),
    row(
        "x-client-data",
        "Chrome",
        "https://www.google.com/chrome/privacy/whitepaper.html#variations",
    ),
    row(
        "x-requested-with",
        "browser libraries, Android's WebView",
        "https://api.jquery.com/jQuery.ajax/",
    ),
    row("x-stainless-*", "official SDKs", "https://www.stainless.com/docs/"),
    row(
        "x-openai-client-user-agent",
        "OpenAI's SDK before 1.0",
        "https://github.com/openai/openai-python/blob/v0.28.1/openai/api_requestor.py",
    ),
    row(
        "x-claude-code-session-id",
        "Claude Code",
        "https://code.claude.com/docs/en/llm-gateway-protocol",
    ),
    row(
        "x-goog-api-client", "Google's SDKs", "https://cloud.google.com/apis/docs/system-parameters"
    ),
    row(
        "amz-sdk-invocation-id amz-sdk-request x-amz-user-agent",
        "AWS' SDKs",
        "https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html",
    ),
    row(
        "ms-cv x-ms-client-request-id x-ms-correlation-request-id x-ms-request-id "
        "x-ms-return-client-request-id x-ms-useragent",
        "Azure's SDKs",
        "https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling",
    ),
    # The sender of a request, and its route.
    row(
        "x-forwarded x-forwarded-by x-forwarded-for x-forwarded-host x-forwarded-path "
        "x-forwarded-port x-forwarded-prefix x-forwarded-proto x-forwarded-protocol "
        "x-forwarded-scheme x-forwarded-server x-forwarded-ssl",
        "Apache, Kong, nginx, Spring, Tomcat, Traefik",
        "https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/X-Forwarded-For, "
        "https://docs.spring.io/spring-framework/reference/web/webmvc/filters.html",
    ),
    row(
        "x-real-ip x-real-port x-original-forwarded-for x-scheme x-request-id",
        "nginx and its ingress controller",
        "https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/configmap/",
    ),
    row(
        "client-ip forwarded-for remote-ip x-client-ip x-client-port x-cluster-client-ip "
        "x-remote-addr x-remote-ip",
        "Apache, Rackspace, Pulse and other balancers",
        "https://httpd.apache.org/docs/2.4/mod/mod_remoteip.html",
    ),
    row("front-end-https", "Microsoft's balancers", "https://learn.microsoft.com/exchange/"),
    row("x-varnish", "Varnish", "https://varnish-cache.org/docs/"),
    row(
        "x-unique-id", "HAProxy", "https://docs.haproxy.org/3.0/configuration.html#unique-id-header"
    ),
    # Content delivery networks, balancers and hosts.
    row(
        "true-client-ip akamai-origin-hop x-akamai-config-log-detail x-akamai-edgescape "
        "x-akamai-request-id",
        "Akamai",
        "https://techdocs.akamai.com/property-mgr/docs/origin-server",
    ),
    row(
        "cf-bot-score cf-connecting-ip cf-connecting-ipv6 cf-connecting-o2o cf-device-type "
        "cf-ew-via cf-ip* cf-ja3-hash cf-ja4 cf-metro-code cf-postal-code cf-pseudo-ipv4 "
        "cf-ray cf-region cf-region-code cf-request-id cf-threat-score cf-timezone "
        "cf-verified-bot cf-visitor cf-warp-tag-id cf-worker",
        "Cloudflare",
        "https://developers.cloudflare.com/fundamentals/reference/http-headers/, "
        "https://developers.cloudflare.com/rules/transform/managed-transforms/reference/",
    ),
    row(
        "cloudfront-* x-amz-cf-id x-amz-cf-pop",
        "Amazon CloudFront",
        "https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/"
        "adding-cloudfront-headers.html",
    ),
    row(
        "x-amz-id-2 x-amz-request-id x-amzn-apigateway-api-id x-amzn-lambda-proxying-cell "
        "x-amzn-remapped-* x-amzn-request-id x-amzn-requestid x-amzn-tls-cipher-suite "
        "x-amzn-tls-version x-amzn-trace-id x-amzn-vpc-id x-amzn-vpce-config x-amzn-vpce-id",
        "Amazon's load balancers, gateways and VPC Lattice",
        "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/x-forwarded-headers.html",
    ),
    row(
        "fastly-*",
        "Fastly",
        "https://www.fastly.com/documentation/reference/http/http-headers/",
    ),
    row(
        "cdn-connectionid cdn-host cdn-mobiledevice cdn-requestcountrycode cdn-requestid "
        "cdn-serverid cdn-serverzone x-pull",
        "bunny.net, KeyCDN",
        "https://docs.bunny.net/docs/cdn-request-headers",
    ),
    row("ali-cdn-real-ip", "Alibaba Cloud CDN", "https://www.alibabacloud.com/help/en/cdn/"),
    row(
        "eagleeye-rpcid eagleeye-traceid",
        "Alibaba Cloud",
        "https://www.alibabacloud.com/help/en/slb/application-load-balancer/",
    ),
    row("incap-client-ip", "Imperva", "https://docs.imperva.com/"),
    row("x-sucuri-clientip x-sucuri-country", "Sucuri", "https://docs.sucuri.net/"),
    row(
        "x-azure-clientip x-azure-fdid x-azure-ja4-fingerprint x-azure-ref x-azure-requestchain "
        "x-azure-socketip x-fd-*",
        "Azure Front Door",
        "https://learn.microsoft.com/azure/frontdoor/front-door-http-headers-protocol",
    ),
    row(
        "disguised-host was-default-hostname x-appgw-trace-id x-appservice-proto x-arr-log-id "
        "x-arr-ssl x-site-deployment-id",
        "Azure App Service and Application Gateway",
        "https://learn.microsoft.com/azure/application-gateway/rewrite-http-headers-url, "
        "https://learn.microsoft.com/azure/app-service/",
    ),
    row(
        "x-appengine-city x-appengine-citylatlong x-appengine-country "
        "x-appengine-default-namespace x-appengine-https x-appengine-region "
        "x-appengine-request-log-id x-appengine-timeout-ms x-appengine-user-ip "
        "x-cloud-trace-context x-client-geo-location",
        "Google Cloud",
        "https://cloud.google.com/appengine/docs/standard/reference/request-headers",
    ),
    row(
        "x-vercel-cache x-vercel-deployment-url x-vercel-edge-region x-vercel-forwarded-for "
        "x-vercel-function-path x-vercel-id x-vercel-internal-* x-vercel-ip-* x-vercel-ja4-digest "
        "x-vercel-proxied-for x-vercel-proxy-signature x-vercel-proxy-signature-ts x-vercel-sc-*",
        "Vercel",
        "https://vercel.com/docs/headers/request-headers",
    ),
    row(
        "x-nf-client-connection-ip x-nf-geo x-nf-request-id",
        "Netlify",
        "https://docs.netlify.com/build/functions/",
    ),
    row(
        "fly-*",
        "Fly.io",
        "https://fly.io/docs/networking/request-headers/",
    ),
    row(
        "connect-time total-route-time x-heroku-* x-queue-start x-request-start",
        "Heroku and servers that measure how long requests wait",
        "https://devcenter.heroku.com/articles/http-routing",
    ),
    row("rndr-id render-proxy-ttl", "Render", "https://render.com/docs/"),
    row(
        "x-railway-edge x-railway-request-id",
        "Railway",
        "https://docs.railway.com/reference/public-networking",
    ),
    row("do-connecting-ip do-request-id", "DigitalOcean", "https://docs.digitalocean.com/"),
    row(
        "x-cf-applicationid x-cf-instanceid x-cf-instanceindex x-vcap-request-id",
        "Cloud Foundry",
        "https://docs.cloudfoundry.org/concepts/http-routing.html",
    ),
    # Meshes and gateways.
    row(
        "x-envoy-*",
        "Envoy, Istio",
        "https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers",
    ),
    row("x-istio-attributes", "Istio", "https://istio.io/latest/docs/"),
    row(
        "l5d-ctx-deadline l5d-ctx-trace l5d-reqid l5d-sample",
        "Linkerd",
        "https://linkerd.io/1/config/#linkerd-headers",
    ),
    row("kong-request-id x-kong-request-id", "Kong", "https://developer.konghq.com/plugins/"),
    # Tracers.
    row("traceparent tracestate", "tracers", "https://www.w3.org/TR/trace-context/"),
    row("baggage", "tracers", "https://www.w3.org/TR/baggage/"),
    row(
        "correlation-context request-context request-id",
        ".NET, Application Insights",
        "https://github.com/dotnet/runtime/blob/main/src/libraries/"
        "System.Diagnostics.DiagnosticSource/src/HttpCorrelationProtocol.md",
    ),
    row(
        "correlation-id trace-id x-client-request-id x-client-trace-id x-correlation-id "
        "x-parent-span-id x-request-trace-id x-requestid x-span-id x-trace x-trace-id "
        "x-transaction-id",
        "programs that number their requests",
        "https://en.wikipedia.org/wiki/List_of_HTTP_header_fields#Common_non-standard_request_fields",
    ),
    row(
        "b3 x-b3-flags x-b3-parentspanid x-b3-sampled x-b3-spanid x-b3-traceid",
        "Zipkin",
        "https://github.com/openzipkin/b3-propagation",
    ),
    row(
        "jaeger-baggage jaeger-debug-id uber-trace-id uberctx-*",
        "Jaeger",
        "https://www.jaegertracing.io/sdk-migration/#propagation-format",
    ),
    row(
        "ot-baggage-* ot-tracer-sampled ot-tracer-spanid ot-tracer-traceid x-ot-span-context",
        "OpenTracing, Lightstep",
        "https://opentelemetry.io/docs/specs/otel/context/api-propagators/",
    ),
    row("grpc-trace-bin", "OpenCensus", "https://opencensus.io/tracing/"),
    row(
        "x-datadog-*",
        "Datadog",
        "https://docs.datadoghq.com/tracing/trace_collection/trace_context_propagation/",
    ),
    row(
        "sentry-trace",
        "Sentry",
        "https://develop.sentry.dev/sdk/telemetry/traces/distributed-tracing/",
    ),
    row(
        "elastic-apm-traceparent",
        "Elastic APM",
        "https://www.elastic.co/guide/en/apm/agent/python/current/configuration.html",
    ),
    row(
        "newrelic x-newrelic-*",
        "New Relic",
        "https://docs.newrelic.com/docs/distributed-tracing/concepts/how-new-relic-distributed-tracing-works/",
    ),
    row(
        "traceresponse x-dtc x-dtpc x-dtreferer x-dynatrace x-dynatrace-*",
        "Dynatrace",
        "https://docs.dynatrace.com/docs/ingest-from/dynatrace-oneagent/",
    ),
    row(
        "adrum adrum_* singularityheader",
        "AppDynamics",
        "https://docs.appdynamics.com/",
    ),
    row(
        "x-instana-*",
        "Instana",
        "https://www.ibm.com/docs/en/instana-observability?topic=references-http-tracing-headers",
    ),
    row(
        "sw6 sw8 sw8-correlation sw8-x",
        "SkyWalking",
        "https://skywalking.apache.org/docs/main/latest/en/api/x-process-propagation-headers-v3/",
    ),
    row(
        "pinpoint-flags pinpoint-host pinpoint-pappname pinpoint-papptype pinpoint-pspanid "
        "pinpoint-sampled pinpoint-spanid pinpoint-traceid",
        "Pinpoint",
        "https://pinpoint-apm.github.io/pinpoint/techdetail.html",
    ),
    row("x-honeycomb-trace", "Honeycomb", "https://docs.honeycomb.io/"),
    row(
        "langsmith-trace",
        "LangSmith",
        "https://docs.langchain.com/langsmith/distributed-tracing",
    ),
)

NEUTRAL_HEADERS = frozenset(
    name.encode() for row in TABLE for name in row.names if not name.endswith("*")
)
"""Full names of neutral headers."""

NEUTRAL_PREFIXES = tuple(
    name.removesuffix("*").encode() for row in TABLE for name in row.names if name.endswith("*")
)
"""Prefixes of neutral headers. Each prefix is used only by the vendor in its row of the table."""

PERSON_OR_DOOR = (
    *("access", "account", "auth", "bearer", "cert", "cookie", "cred", "customer", "email"),
    *("e-mail", "group", "ident", "jwt", "key", "login", "oidc", "org", "owner", "principal"),
    *("role", "saml", "scope", "secret", "session", "subject", "team", "tenant", "token", "user"),
)
"""Parts of a header's name that suggest a person or a credential."""

_TELLING = re.compile("|".join(PERSON_OR_DOOR).encode())


def is_neutral(name: bytes) -> bool:
    """Whether a header is neutral. `name` is the name of the header in lower case."""
    return name in NEUTRAL_HEADERS or (
        name.startswith(NEUTRAL_PREFIXES) and not tells_who_asks(name)
    )


def tells_who_asks(name: bytes) -> bool:
    """Whether the name of a header, in lower case, suggests a person or a credential."""
    return _TELLING.search(name) is not None
