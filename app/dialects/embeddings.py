"""OpenAI's embeddings API: reads requests and answers, and writes answers with the same numbers.

The formats: https://platform.openai.com/docs/api-reference/embeddings/create
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from app.core.cache_status import DiscardReason
from app.core.errors import NotUnderstood
from app.dialects.fields import unknown
from app.dialects.openai import NEUTRAL_FIELDS, treatment_of
from app.dialects.strict_json import JsonObject, check_structure, load_object

Input = str | list[int]
"""One input to embed: a text, or its tokens."""

Encoding = Literal["float", "base64"]

_MOST_INPUTS = 4096  # each input has its own key; OpenAI allows 2048

_ITEM = frozenset({"object", "index", "embedding"})


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of an embedding as little-endian floats of `width` bytes each.

    `width` is 4 if the upstream sent float32 numbers in base64. It is also 4 if the upstream sent
    decimal numbers, and each is the shortest spelling of a float32. Most servers send these
    decimal numbers. In all other cases, `width` is 8. Numbers in this width keep their exact value.
    """

    raw: bytes = field(repr=False)
    width: Literal[4, 8]

    @property
    def count(self) -> int:
        """The number of dimensions."""
        return len(self.raw) // self.width


@dataclass(frozen=True, slots=True)
class EmbeddingsRequest:
    """The parsed body of an embeddings request; `document` is the whole body."""

    document: Mapping[str, Any] = field(repr=False)
    inputs: Sequence[Input] = field(repr=False)
    encoding: Encoding

    @classmethod
    def parse(cls, body: bytes, *, needs_model: bool = True) -> "EmbeddingsRequest":
        """Parse the body of a request; `needs_model` is False if the path names the model.

        Raises NotUnderstood (`not-json`, `ambiguous-json`, `too-complex`, `unknown-body`).
        """
        document = load_object(body)
        if not isinstance(document.get("model", None if needs_model else ""), str):
            unknown()
        encoding = document.get("encoding_format")
        if encoding not in (None, "float", "base64"):
            unknown()
        return cls(document, _inputs(document.get("input")), encoding or "float")

    @property
    def model(self) -> str:
        """The name of the model in the body; empty if only the path names the model."""
        return str(self.document.get("model", ""))

    @property
    def must_match(self) -> Mapping[str, Any]:
        """The body without the inputs and without fields that cannot change an embedding."""
        taken = {*NEUTRAL_FIELDS, "input", "encoding_format"}
        return {name: value for name, value in self.document.items() if name not in taken}

    @property
    def end_user(self) -> Sequence[Any]:
        """The values in the body that identify the end user."""
        return [self.document.get("user"), self.document.get("safety_identifier")]

    @property
    def treatment(self) -> str:
        """A digest of the fields that change the handling of the request, but not the answer."""
        return treatment_of(self.document)

    def bypass_reason(self, max_temperature: float) -> None:
        """Return None, because every embeddings request may use the cache."""

    def reader(self) -> "EmbeddingsReader":
        """Return a reader for the answer."""
        return EmbeddingsReader(len(self.inputs))

    def body_of(self, inputs: Sequence[Input]) -> bytes:
        """Return the body of this request as JSON, but with `inputs` as the inputs."""
        return json.dumps({**self.document, "input": inputs}, ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class EmbeddingsAnswer:
    """An upstream's answer: an embedding for each input, in order.

    `is_all` is False if the upstream sent an embedding with fields other than `object`, `index` and
    `embedding`. A replay would lose these fields.
    """

    model: str
    embeddings: Sequence[Numbers] = field(repr=False)
    usage: JsonObject | None = None
    is_all: bool = True

    @property
    def whole(self) -> None:
        """Always None: collapsed requests share no answer, as their inputs or encodings differ."""

    @classmethod
    def parse(cls, body: bytes, count: int) -> "EmbeddingsAnswer":
        """Parse the body of an answer to `count` inputs. Raises NotUnderstood."""
        check_structure(body.decode("latin-1"))  # whatever the encoding, structure is ASCII
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise NotUnderstood("not-json") from None
        if not isinstance(document, dict) or not isinstance(data := document.get("data"), list):
            unknown()
        if document.get("error") is not None or not isinstance(document.get("model"), str):
            unknown()
        found: dict[int, Numbers] = {}
        for item in data:
            if not isinstance(item, dict) or type(item.get("index")) is not int:
                unknown()
            found[item["index"]] = _numbers(item.get("embedding"))
        if len(data) != count or set(found) != set(range(count)):
            unknown()
        embeddings = [found[index] for index in range(count)]
        if len({numbers.count for numbers in embeddings}) > 1:
            unknown()
        usage = document.get("usage") if isinstance(document.get("usage"), dict) else None
        is_all = not any(set(item) - _ITEM for item in data)
        return cls(document["model"], embeddings, usage, is_all)


def shares(inputs: Sequence[Input], usage: Mapping[str, Any] | None) -> list[float | None]:
    """Return a list with each input's share of the tokens in `usage`.

    The upstream states only the sum for all inputs. If `usage` has no sum, each entry of the list
    is None. Otherwise the sum is divided in proportion to the sizes of the inputs. The shares may
    be fractions. Together they equal the sum.
    """
    counted = (usage or {}).get("total_tokens", (usage or {}).get("prompt_tokens"))
    if type(counted) is not int or counted < 0:
        return [None for _ in inputs]
    sizes = [max(1, len(i.encode() if isinstance(i, str) else i)) for i in inputs]
    return [counted * size / sum(sizes) for size in sizes]


def usage_of(tokens: Iterable[float | None]) -> JsonObject:
    """Return a `usage` object with the sum of `tokens`, rounded. None counts as 0."""
    total = round(sum(share for share in tokens if share is not None))
    return {"prompt_tokens": total, "total_tokens": total}


class EmbeddingsReader:
    """Reads the embeddings of `count` inputs."""

    is_complete = False

    def __init__(self, count: int) -> None:
        self._count = count
        self._body: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        self._body.append(data)

    def end(self) -> None:
        """Do nothing: the document ends where the body ends."""

    def read(self) -> EmbeddingsAnswer:
        """Return the embeddings.

        Raises NotUnderstood if the answer is invalid, or if a replay would lose a field.
        """
        answer = EmbeddingsAnswer.parse(b"".join(self._body), self._count)
        if not answer.is_all:
            raise NotUnderstood("unknown-body")
        return answer


class Embeddings:
    """The dialect of `POST /v1/embeddings`.

    `needs_model` is False if the path, not the body, names the model.
    """

    name = "embedding"

    def __init__(self, *, needs_model: bool = True) -> None:
        self._needs_model = needs_model

    def why_not_stored(self, content: Mapping[str, Any]) -> DiscardReason:
        """Return `unknown-body`: embeddings are stored one by one, never as a whole answer."""
        return "unknown-body"

    def parse(self, body: bytes) -> EmbeddingsRequest:
        """Parse the body of a request. Raises NotUnderstood."""
        return EmbeddingsRequest.parse(body, needs_model=self._needs_model)


def render(
    embeddings: Sequence[Numbers], encoding: Encoding, model: str, usage: Mapping[str, Any]
) -> bytes:
    """Return the body of an embeddings answer in OpenAI's format."""
    write = _base64 if encoding == "base64" else _array
    data = [
        {"object": "embedding", "index": index, "embedding": write(numbers)}
        for index, numbers in enumerate(embeddings)
    ]
    document = {"object": "list", "data": data, "model": model, "usage": dict(usage)}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _inputs(value: object) -> list[Input]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        unknown()
    if type(value[0]) is not int and len(value) > _MOST_INPUTS:
        raise NotUnderstood("too-complex")
    if all(type(item) is int for item in value):
        return [value]
    if not (all(isinstance(item, str) for item in value) or all(map(_is_tokens, value))):
        unknown()
    return value


def _is_tokens(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(token) is int for token in value)


def _numbers(value: object) -> Numbers:
    if isinstance(value, str):
        try:
            raw = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            unknown()
        if not raw or len(raw) % 4 or not np.isfinite(np.frombuffer(raw, "<f4")).all():
            unknown()
        return Numbers(raw, 4)
    if not isinstance(value, list) or not value or {type(n) for n in value} - {int, float}:
        unknown()
    try:
        exact = np.array(value, "<f8")
    except OverflowError:
        unknown()
    with np.errstate(over="ignore"):
        single = exact.astype("<f4")
    if not np.isfinite(single).all():
        unknown()
    if orjson.loads(orjson.dumps(single, option=orjson.OPT_SERIALIZE_NUMPY)) == value:
        return Numbers(single.tobytes(), 4)
    return Numbers(exact.tobytes(), 8)


def _array(numbers: Numbers) -> NDArray[Any]:
    return np.frombuffer(numbers.raw, f"<f{numbers.width}")


def _base64(numbers: Numbers) -> str:
    return base64.b64encode(_array(numbers).astype("<f4").tobytes()).decode()
