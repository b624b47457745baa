import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.labels import Labels
from app.models import Embedding
from app.selectors import EVERYTHING, Near, Selector
from tests.fakes import embedding_of

NAMES = st.sampled_from(["", "a", "b", "c"])
LABELS = st.builds(Labels, NAMES, st.frozensets(NAMES.filter(bool)))
VECTORS = st.none() | st.sampled_from(["valkey what", "valkey is what", "pasta how"]).map(
    embedding_of
)


@given(NAMES, LABELS, VECTORS)
def test_everything_is_selected_unless_something_is_said(
    model: str, labels: Labels, vector: Embedding | None
) -> None:
    assert EVERYTHING.selects(model, labels, vector)


@given(NAMES, NAMES, NAMES, NAMES, LABELS)
def test_all_that_is_said_must_hold(
    tag: str, wanted: str, namespace: str, model: str, labels: Labels
) -> None:
    parts = (Selector(tag=tag), Selector(model=wanted), Selector(namespace=namespace))
    whole = Selector(tag, wanted, namespace)
    assert whole.selects(model, labels, None) == all(
        part.selects(model, labels, None) for part in parts
    )
    assert parts[0].selects(model, labels, None) == (tag in labels.tags)
    assert parts[1].selects(model, labels, None) == (wanted == model)
    assert parts[2].selects(model, labels, None) == (namespace == labels.namespace)


@given(VECTORS, st.floats(0, 2))
def test_what_has_no_embedding_is_near_nothing(vector: Embedding | None, bound: float) -> None:
    near = Near(embedding_of("valkey what"), bound)
    selected = Selector(near=near).selects("m", Labels(), vector)
    assert selected == (vector is not None and near.distance(vector) <= bound)


def test_a_distance_is_a_cosine_distance() -> None:
    east = np.array([1, 0], np.float32)
    near = Near(east, 1.0)
    for vector, distance in (([1, 0], 0), ([0, 1], 1), ([-1, 0], 2), ([0.6, 0.8], 0.4)):
        assert near.distance(np.array(vector, np.float32)) == pytest.approx(distance, abs=1e-6)
