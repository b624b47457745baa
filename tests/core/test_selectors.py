import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.models import Embedding
from app.core.selectors import EVERYTHING, Near, Selector
from app.core.tags import Tagging
from tests.fakes import embedding_of

NAMES = st.sampled_from(["", "a", "b", "c"])
LABELS = st.builds(Tagging, NAMES, st.frozensets(NAMES.filter(bool)))
VECTORS = st.none() | st.sampled_from(["valkey what", "valkey is what", "pasta how"]).map(
    embedding_of
)


@given(NAMES, LABELS, VECTORS)
def test_everything_is_selected_unless_something_is_said(
    model: str, tagging: Tagging, vector: Embedding | None
) -> None:
    assert EVERYTHING.selects(model, tagging, "", vector)


@given(NAMES, NAMES, NAMES, NAMES, LABELS)
def test_all_that_is_said_must_hold(
    tag: str, wanted: str, namespace: str, model: str, tagging: Tagging
) -> None:
    parts = (Selector(tag=tag), Selector(model=wanted), Selector(namespace=namespace))
    whole = Selector(tag, wanted, namespace)
    assert whole.selects(model, tagging, "", None) == all(
        part.selects(model, tagging, "", None) for part in parts
    )
    assert parts[0].selects(model, tagging, "", None) == (tag in tagging.tags)
    assert parts[1].selects(model, tagging, "", None) == (wanted == model)
    assert parts[2].selects(model, tagging, "", None) == (namespace == tagging.namespace)


@given(VECTORS, st.floats(0, 2))
def test_what_has_no_embedding_is_near_nothing(vector: Embedding | None, bound: float) -> None:
    near = Near(embedding_of("valkey what"), bound)
    selected = Selector(near=near).selects("m", Tagging(), "", vector)
    assert selected == (vector is not None and near.distance(vector) <= bound)


def test_a_distance_is_a_cosine_distance() -> None:
    east = np.array([1, 0], np.float32)
    near = Near(east, 1.0)
    for vector, distance in (([1, 0], 0), ([0, 1], 1), ([-1, 0], 2), ([0.6, 0.8], 0.4)):
        assert near.distance(np.array(vector, np.float32)) == pytest.approx(distance, abs=1e-6)


def test_an_answer_is_selected_by_the_upstreams_id() -> None:
    selector = Selector(upstream_ids=frozenset({"resp_1"}))
    told = [selector.selects("m", Tagging(), name, None) for name in ("", "resp_1", "resp_2")]
    assert told == [False, True, False]
