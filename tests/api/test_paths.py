"""Which paths belong to an API."""

import pytest

from app.api.paths import CACHED, api_path, forms_of, is_api, route_of


@pytest.mark.parametrize("path", sorted(CACHED))
def test_the_forms_of_a_path_mean_it(path: str) -> None:
    forms = [pattern.replace("{deployment}", "a b") for pattern, _ in forms_of(path)]
    assert len(forms) == 4
    assert {route_of(form) for form in forms} == {path}
    assert all(is_api(form) and api_path(form.encode()) for form in forms)
    assert {route_of(f"{form}/") for form in forms} == {None}
    assert route_of(f"/openai/deployments/a/b{path.removeprefix('/v1')}") is None


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("/v1/files", b"/v1"),
        ("/openai/v1/files", b"/openai/v1"),
        ("/openai/files", b"/openai"),
        ("/openai/deployments/a/embeddings", b"/openai"),
        ("/models/a", b""),
    ],
)
def test_the_longest_prefix_is_what_stands_before_a_path(path: str, prefix: bytes) -> None:
    known = api_path(path.encode())
    assert known == (prefix, path.encode().removeprefix(prefix))


@pytest.mark.parametrize("path", ["/", "", "/v2/files", "/modelsx", "/cache/stats", "/metrics"])
def test_other_paths_are_not_the_apis(path: str) -> None:
    assert api_path(path.encode()) is None
    assert not is_api(path)
    assert route_of(path) is None
