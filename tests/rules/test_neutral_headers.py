import pytest

from app.rules.neutral_headers import NEUTRAL_HEADERS, NEUTRAL_PREFIXES, TABLE, is_neutral

ADDED = """
    sec-fetch-mode sec-fetch-site sec-ch-ua sec-ch-ua-platform sec-gpc sec-purpose cf-ray cf-visitor
    cf-connecting-ip cf-ipcountry cf-ipcity cdn-loop x-real-ip true-client-ip forwarded via
    x-amz-cf-id cloudfront-viewer-country cloudfront-viewer-address x-amzn-trace-id
    x-amzn-tls-version x-amzn-requestid x-vercel-id x-vercel-forwarded-for x-vercel-ip-country
    fly-request-id fly-client-ip x-azure-ref x-azure-clientip x-fd-healthprobe x-arr-log-id
    request-id x-request-id x-trace-id elastic-apm-traceparent newrelic x-newrelic-transaction
    x-envoy-attempt-count x-envoy-external-address x-envoy-peer-metadata-id x-request-start
    langsmith-trace sw8 sw8-correlation referer priority dnt pragma fastly-client-ip fastly-ff
    x-instana-t x-dynatrace uberctx-a x-nf-request-id x-appengine-user-ip x-datadog-parent-id
    x-stainless-lang x-requested-with early-data kong-request-id x-forwarded-for x-client-data
    x-claude-code-session-id
"""
PERSONS = """
    cf-access-jwt-assertion cf-access-authenticated-user-email cf-access-client-id
    cf-access-client-secret cf-aig-authorization cf-aig-metadata x-amzn-oidc-identity
    x-amzn-oidc-data x-amzn-oidc-accesstoken x-amzn-mtls-clientcert x-amzn-mtls-clientcert-subject
    x-amzn-remapped-authorization x-goog-authenticated-user-email x-goog-authenticated-user-id
    x-goog-iap-jwt-assertion x-ms-client-principal x-ms-client-principal-id
    x-ms-client-principal-name x-ms-token-aad-access-token x-auth-request-user x-auth-request-email
    x-remote-user remote-user ssl-client-cert ssl-client-subject-dn ssl-client-verify x-client-cert
    x-arr-clientcert x-ssl-client-s-dn x-forwarded-user x-forwarded-email x-forwarded-client-cert
    x-forwarded-tls-client-cert x-webauth-user x-authenticated-userid x-consumer-username
    x-credential-identifier x-vercel-oidc-token x-replit-user-id x-user-id x-tenant-id
    x-envoy-user-id x-envoy-auth-partial-body fastly-key sec-token-binding sec-session-response
    tailscale-user-login l5d-client-id x-appengine-user-email x-csrf-token from cookie2
"""
OTHERS = """
    x-amzn-bedrock-guardrailidentifier x-amzn-sagemaker-target-model openai-organization
    openai-beta anthropic-beta http-referer x-title accept-version x-original-url x-language
"""


@pytest.mark.parametrize("name", ADDED.split())
def test_what_edges_runtimes_and_tracers_add_is_neutral(name: str) -> None:
    assert is_neutral(name.encode())


@pytest.mark.parametrize("name", [*PERSONS.split(), *OTHERS.split()])
def test_what_names_a_person_or_changes_an_answer_is_not(name: str) -> None:
    assert not is_neutral(name.encode())


def test_the_table_names_everything_once_and_says_where_it_is_documented() -> None:
    names = [name for row in TABLE for name in row.names]
    assert len(set(names)) == len(names) == len(NEUTRAL_HEADERS) + len(NEUTRAL_PREFIXES)
    assert all(name == name.lower() and name.rstrip("*") for name in names)
    assert all(row.added_by and row.documented for row in TABLE)


def test_no_prefix_hides_a_name_that_is_listed() -> None:
    assert [name for name in NEUTRAL_HEADERS if name.startswith(NEUTRAL_PREFIXES)] == []
