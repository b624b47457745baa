"""Which models an operator's settings name, and which settings cannot be measured."""

from typing import Any

import pytest
from pydantic import SecretStr

from app.core.errors import BadInput, ConfigurationError
from app.settings import FixedSettings
from app.tools.benchmark import Terms
from app.tools.evaluate import Models
from app.tools.operators import calibrate_for, operators_models, terms_of
from app.tools.rated import Labelled
from tests.fakes import FakeEmbedder, FakeProgress, FakeVerifier

NOWHERE = "http://127.0.0.1:9"


def settings_of(**settings: Any) -> FixedSettings:
    return FixedSettings(
        upstream_url="simulated://",
        embedder=f"{NOWHERE}/v1",
        embedder_api_key=SecretStr("its"),
        **settings,
    )


@pytest.mark.parametrize(
    ("settings", "with_verifier", "terms"),
    [
        ({}, True, Terms("on", 0.4, [0.01, 0.02])),  # as far as the fake was measured
        ({"max_error_rate": 0.3}, True, Terms("on", 0.4, [0.02, 0.3])),
        ({"max_distance": 0.2, "guards": "off"}, True, Terms("off", 0.2, [0.01, 0.02])),
        ({}, False, Terms("on", 0.15, [0.01, 0.02])),
    ],
)
def test_terms_are_those_of_serving_and_hold_the_own_dial(
    settings: dict[str, Any], with_verifier: bool, terms: Terms
) -> None:
    models = Models(FakeEmbedder(), FakeVerifier() if with_verifier else None)
    assert terms_of(settings_of(**settings), models, [0.02]) == terms


def test_an_embedder_that_embeds_as_its_callers_cannot_be_measured() -> None:
    settings = FixedSettings(upstream_url=f"{NOWHERE}/v1", embedder="upstream")
    with (
        pytest.raises(BadInput, match="REPRISE_EMBEDDER=upstream uses each client's credential"),
        operators_models(settings),
    ):
        pass


def test_without_a_verifier_there_is_nothing_to_calibrate() -> None:
    with pytest.raises(BadInput, match="nothing to calibrate with REPRISE_VERIFIER=off"):
        calibrate_for(settings_of(verifier="off"), Labelled([], []), None, FakeProgress())


def test_a_reranker_is_measured_only_with_its_calibration() -> None:
    settings = settings_of(verifier_url=f"{NOWHERE}/rerank")
    with pytest.raises(ConfigurationError, match="CALIBRATION"), operators_models(settings):
        pass
