"""Creates the models that the settings name, for commands that measure them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from app.adapters import embedder_for, verifier_for
from app.core.calibration import Calibration, uncalibrated
from app.core.errors import BadInput
from app.main import max_distance_for
from app.settings import Settings
from app.tools.benchmark import Terms
from app.tools.calibrate import Calibrated, calibrate
from app.tools.evaluate import Models
from app.tools.home_loop import EmbedderAtHome, VerifierAtHome, home_loop
from app.tools.progress import Progress
from app.tools.rated import Labelled, Raters, rate_labelled

_FARTHEST = 2.0  # the greatest cosine distance there is
_PATIENT = 30.0  # seconds; a busy server must not change the figures


@contextmanager
def operators_models(
    settings: Settings, calibration: Calibration | None = None
) -> Iterator[Models]:
    """Yield the models that the settings name; close these models after the block.

    `calibration`, if given, replaces the calibration of the verifier. Raises ConfigurationError.
    Raises BadInput if the embedder needs each client's credential.
    """
    if settings.embeds_as_caller:
        raise BadInput(
            f"REPRISE_EMBEDDER={settings.embedder} uses each client's credential, which this "
            "command does not have; set REPRISE_EMBEDDER_API_KEY"
        )
    patient = settings.model_copy(
        update={"embedder_timeout": _PATIENT, "verifier_timeout": _PATIENT}
    )
    embedder = embedder_for(patient)
    is_verified = settings.verifier == "on"
    verifier = verifier_for(patient, embedder.name, calibration) if is_verified else None
    with home_loop() as home:
        try:
            at_home = VerifierAtHome(verifier, home) if verifier else None
            yield Models(EmbedderAtHome(embedder, home), at_home)
        finally:
            home.wait(embedder.aclose())
            if verifier is not None:
                home.wait(verifier.aclose())


def terms_of(settings: Settings, models: Models, error_rates: Sequence[float]) -> Terms:
    """Return the guards, the greatest distance and the dials to use when a proxy is measured.

    The dials are `error_rates` and the dial of the settings.
    """
    rates = sorted({*error_rates, settings.max_error_rate})
    return Terms(settings.guards, max_distance_for(settings, models.verifier), rates)


def calibrate_for(
    settings: Settings, labelled: Labelled, max_distance: float | None, progress: Progress
) -> tuple[Calibrated, str]:
    """Calibrate the verifier of the settings; return the result and the embedder's name.

    Questions are compared up to the cosine distance `max_distance`; if it is None, the distance is
    computed from `labelled`. Raises BadInput if the verifier is off. Raises ConfigurationError if a
    model cannot be created.
    """
    with operators_models(settings, uncalibrated(_FARTHEST)) as models:
        if models.verifier is None:
            raise BadInput("there is nothing to calibrate with REPRISE_VERIFIER=off")
        raters = Raters(models.embedder, models.verifier, settings.guards == "on")
        streams, farthest = rate_labelled(labelled, raters, max_distance, progress)
        made = calibrate(streams, farthest, repeats=labelled.repeats)
        return made, models.embedder.name
