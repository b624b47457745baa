from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.dialects import sse
from app.dialects.sse import Event, EventParser

LINES = st.sampled_from(
    [
        "data: x",
        "data:y",
        "data",
        "data:",
        ": ping",
        "event: error",
        "id: 7",
        "retry: 10",
        "",
        "¡ñ!",
    ]
)
ENDS = st.sampled_from(["\n", "\r", "\r\n"])
STREAMS = st.lists(st.tuples(LINES, ENDS)).map(
    lambda pairs: "".join(line + end for line, end in pairs).encode()
)


def parse(*chunks: bytes) -> list[Event]:
    parser = EventParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return events + parser.flush()


@given(STREAMS, st.lists(st.integers(min_value=0, max_value=200)))
def test_where_the_bytes_are_split_makes_no_difference(stream: bytes, cuts: list[int]) -> None:
    at = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    pieces = [stream[a:b] for a, b in pairwise(at)]
    assert parse(*pieces) == parse(stream)


@given(STREAMS)
def test_line_ends_of_all_kinds_mean_the_same(stream: bytes) -> None:
    # Only streams that use one kind: a lone CR before a lone LF would become one line end.
    lines = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert (
        parse(lines.replace(b"\n", b"\r\n")) == parse(lines) == parse(lines.replace(b"\n", b"\r"))
    )


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), min_size=1)))
def test_what_is_encoded_is_parsed_again(data: list[str]) -> None:
    assert parse(*(sse.encode(item.encode()) for item in data)) == [Event(item) for item in data]


def test_data_lines_are_joined_and_comments_dropped() -> None:
    assert parse(b": OPENROUTER PROCESSING\n\ndata: a\ndata:b\n\n") == [Event("a\nb")]


def test_a_named_event_keeps_its_name_to_itself() -> None:
    stream = b"event: error\ndata: 1\n\nevent: ping\n\ndata: 2\n\n"
    assert parse(stream) == [Event("1", "error"), Event("2")]


def test_an_event_that_lacks_its_blank_line_shows_what_it_has() -> None:
    parser = EventParser()
    assert parser.feed(b"data: [DO") == []
    assert not parser.unfinished
    assert parser.feed(b"NE]\n") == []
    assert parser.unfinished == ["[DONE]"]
    assert parser.feed(b"\n") == [Event("[DONE]")]
    assert not parser.unfinished


def test_a_byte_order_mark_is_skipped_at_the_start_only() -> None:
    assert parse(b"\xef\xbb\xbfdata: 1\n\n") == [Event("1")]


def test_a_last_event_without_blank_line_is_given_at_the_end() -> None:
    assert parse(b"data: 1\n\ndata: [DONE]") == [Event("1"), Event("[DONE]")]


def test_one_space_after_the_colon_is_dropped_and_no_more() -> None:
    assert parse(b"data:  two spaces\n\n") == [Event(" two spaces")]


@given(STREAMS)
def test_events_written_again_are_the_same_events(stream: bytes) -> None:
    events = parse(stream)
    assert parse(*map(sse.encode_event, events)) == events


def test_comments_are_kept_for_who_wants_them() -> None:
    events = EventParser(keeps_comments=True)
    assert events.feed(b": one\n\ndata: a\n:two\n:") == []
    assert events.comments() == [b" one", b"two"]
    assert events.feed(b"\n\n") == [Event("a")]
    assert events.comments() == [b""]
    assert events.comments() == []
