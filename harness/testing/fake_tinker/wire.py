"""Bodies of requests and answers: JSON of the SDK's own types, and protobuf where the SDK speaks it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pydantic
import zstandard
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tinker.proto import tinker_public_pb2 as pb

from harness.records import Json
from harness.testing.fake_tinker.backend import Sampled, TrainedTokens, UserError

PROTOBUF = "application/x-protobuf"
MOST_BYTES = 64 * 2**20  # of a request, unpacked
DTYPES: dict[int, np.dtype[Any]] = {
    pb.DTYPE_FLOAT32: np.dtype(np.float32),
    pb.DTYPE_INT64: np.dtype(np.int64),
}
T = TypeVar("T", bound=pydantic.BaseModel)


@dataclass(frozen=True)
class Refused(Exception):  # noqa: N818 - an answer of the service, not an error of this program
    """A refused request: the HTTP status and what is said about it."""

    status: int
    detail: Json
    retry_after_s: float | None = None


def parsed(kind: type[T], body: bytes) -> T:
    """The body, if it is of the SDK's request type ``kind``; unknown fields are refused at any depth."""
    try:
        given: Json = json.loads(body or b"{}")
        made = kind.model_validate(given)
    except pydantic.ValidationError as error:
        raise Refused(422, json.loads(error.json(include_url=False, include_input=False))) from error
    except (ValueError, RecursionError) as error:
        raise Refused(400, "The body is no JSON.") from error
    unknown = _unknown(given, made.model_dump(mode="json", by_alias=True))
    if unknown:
        raise Refused(422, [{"type": "extra_forbidden", "loc": ["body", unknown], "msg": "unknown field"}])
    return made


def _unknown(given: Json, known: Json, at: str = "") -> str | None:
    """The place of a field that the type does not have: some types ignore what they do not know."""
    pairs: list[tuple[str, Json, Json]]
    if isinstance(given, list) and isinstance(known, list):
        pairs = [(str(k), *both) for k, both in enumerate(zip(given, known, strict=False))]
    elif isinstance(given, dict) and isinstance(known, dict):
        extra = given.keys() - known.keys()
        if extra:
            return f"{at}{min(extra)}"
        pairs = [(key, value, known[key]) for key, value in given.items()]
    else:
        return None
    return next((found for key, one, other in pairs if (found := _unknown(one, other, f"{at}{key}."))), None)


def forward_request(body: bytes, headers: Mapping[str, str]) -> pb.ForwardBackwardRequest:
    """The body of a forward or backward pass; unknown fields are refused."""
    if headers.get("content-type") != PROTOBUF:
        raise Refused(415, f"forward_backward takes {PROTOBUF}")
    encoding = headers.get("content-encoding", "")
    if encoding not in ("", "zstd"):
        raise Refused(415, f"unknown content-encoding {encoding}")
    request = pb.ForwardBackwardRequest()
    try:
        if encoding:
            with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body)) as stream:
                body = stream.read(MOST_BYTES + 1)
        request.ParseFromString(body)
    except (zstandard.ZstdError, DecodeError) as error:
        raise Refused(422, f"malformed request: {error}") from error
    if len(body) > MOST_BYTES:
        raise Refused(413, "the request is too large")
    again = pb.ForwardBackwardRequest.FromString(body)
    again.DiscardUnknownFields()
    if again.ByteSize() != request.ByteSize():
        raise Refused(422, "the request has fields that the wire does not have")
    return request


def trained_tokens(request: pb.ForwardBackwardRequest) -> list[TrainedTokens]:
    """The data of a pass of ``cross_entropy``."""
    if request.loss_fn != "cross_entropy":
        raise UserError(f"loss_fn {request.loss_fn!r} is not supported here; there is cross_entropy")
    if not request.data:
        raise UserError("no data")
    return [_datum(datum, k) for k, datum in enumerate(request.data)]


def _datum(datum: pb.Datum, number: int) -> TrainedTokens:
    tokens: list[int] = []
    for chunk in datum.model_input:
        if chunk.WhichOneof("chunk") != "encoded_text":
            raise UserError(f"datum {number}: only text is supported here")
        tokens += np.frombuffer(chunk.encoded_text.tokens, dtype=np.int32).tolist()
    given = dict(datum.loss_fn_inputs)
    if given.keys() != {"target_tokens", "weights"}:
        raise UserError(f"datum {number}: cross_entropy takes target_tokens and weights, not {sorted(given)}")
    targets, weights = (_numbers(given[name], number, name) for name in ("target_tokens", "weights"))
    if not len(tokens) == len(targets) == len(weights):
        sizes = f"{len(tokens)} tokens, {len(targets)} target_tokens, {len(weights)} weights"
        raise UserError(f"datum {number}: {sizes}")
    if not tokens:
        raise UserError(f"datum {number}: no tokens")
    if not np.isfinite(weights).all():
        raise UserError(f"datum {number}: weights that are no finite numbers")
    return TrainedTokens(tokens, [int(target) for target in targets], weights.tolist())


def _numbers(tensor: pb.Tensor, number: int, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    kind = DTYPES.get(tensor.dtype)
    if kind is None or len(tensor.shape) > 1 or tensor.WhichOneof("encoding") != "dense":
        raise UserError(f"datum {number}: {name} has to be one dense row of float32 or int64 here")
    if (kind.kind == "i") != (name == "target_tokens"):
        raise UserError(f"datum {number}: {name} is of {kind}")
    numbers: np.ndarray[tuple[int], np.dtype[np.float64]] = np.frombuffer(tensor.dense, dtype=kind).astype(
        float
    )
    return numbers


def forward_output(logprobs: Sequence[Sequence[float]], metrics: Mapping[str, float]) -> bytes:
    """The result of a pass."""
    rows = [np.asarray(row, dtype=np.float32) for row in logprobs]
    fields = {
        "logprobs": pb.BatchedTensor(
            data=b"".join(row.tobytes() for row in rows),
            offsets=np.cumsum([0, *(row.nbytes for row in rows)], dtype=np.int64).tobytes(),
            dtype=pb.DTYPE_FLOAT32,
        )
    }
    kind = "CrossEntropyLossReturn"
    record = pb.ArrayRecord(type_tag=kind, num_datums=len(rows), fields=fields)
    output = pb.ForwardBackwardOutput(
        loss_fn_output_type=kind, loss_fn_outputs=[record], metrics=dict(metrics)
    )
    return bytes(output.SerializeToString())


def sample_output(sequences: Sequence[Sampled], prompt: Sequence[float] | None) -> bytes:
    """The result of sampling. ``prompt``: its tokens' log-probabilities, NaN where there is none."""
    stops = {"stop": pb.STOP_REASON_STOP, "length": pb.STOP_REASON_LENGTH}
    answer = pb.SampleResponse(
        sequences=[
            pb.SampledSequence(
                stop_reason=stops[one.stop],
                tokens=np.asarray(one.tokens, dtype=np.int32).tobytes(),
                logprobs=np.asarray(one.logprobs, dtype=np.float32).tobytes(),
            )
            for one in sequences
        ]
    )
    if prompt is not None:
        answer.prompt_logprobs = np.asarray(prompt, dtype=np.float32).tobytes()
    return bytes(answer.SerializeToString())
