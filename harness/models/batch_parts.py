"""What the Batch API is sent and what it gives back: files of requests, and lines of answers."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from harness.data.fingerprints import bytes_digest
from harness.models.remote_calls import CallFailed
from harness.records import Json

if TYPE_CHECKING:
    from harness.models.remote_answers import Asked

MOST_LINES, MOST_BYTES = 50_000, 190_000_000  # the service's limits are 50,000 lines and 200 MB

Url: TypeAlias = Literal["/v1/chat/completions", "/v1/completions"]
Line: TypeAlias = Mapping[str, Json]  # of an output or error file


@dataclass(frozen=True)
class Part:
    """Requests that make one batch.

    Args:
        name: the fingerprint of all requests that the part was cut with. What is left of a part whose answers
            are partly known keeps that name, so that a batch that was sent for it is found.
        asked: the requests.
        lines: each as a line of the input file.
        url: the endpoint.
    """

    name: str
    asked: Sequence[Asked]
    lines: Sequence[bytes]
    url: Url

    @property
    def content(self) -> bytes:
        """The input file."""
        return b"".join(self.lines)

    @property
    def file_name(self) -> str:
        """What the input file is called at the service: after its content."""
        return f"harness-{_digest(self.content)}.jsonl"

    def lacking(self, known: Collection[str]) -> Part:
        """What is left without the rows that are known."""
        left = [
            (one, line)
            for one, line in zip(self.asked, self.lines, strict=True)
            if one.prompt.row_id not in known
        ]
        return replace(self, asked=[one for one, _ in left], lines=[line for _, line in left])


def cut(
    asked: Sequence[Asked], takes_prompt: bool, most_lines: int = MOST_LINES, most_bytes: int = MOST_BYTES
) -> Iterator[Part]:
    """The requests in order, in parts that the service accepts."""
    url: Url = "/v1/completions" if takes_prompt else "/v1/chat/completions"
    lines: list[bytes] = []
    begun = size = 0
    for at, one in enumerate(asked):
        request = {"custom_id": one.prompt.row_id, "method": "POST", "url": url, "body": one.body}
        line = json.dumps(request, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        if lines and (len(lines) >= most_lines or size + len(line) > most_bytes):
            yield Part(_digest(b"".join(lines)), asked[begun:at], lines, url)
            lines, begun, size = [], at, 0
        lines.append(line)
        size += len(line)
    if lines:
        yield Part(_digest(b"".join(lines)), asked[begun:], lines, url)


def read_lines(text: str) -> dict[str, Line]:
    """The lines of an output or error file, by the row that each answers."""
    parsed = map(_parsed, text.splitlines())
    return {str(line.get("custom_id")): line for line in parsed if line}


def is_answered(line: Line | None) -> bool:
    """Whether the request was carried out, and so billed."""
    response = None if line is None else line.get("response")
    return isinstance(response, dict) and response.get("status_code") == 200


def body_of(line: Line | None, status: str) -> Json:
    """The answer's body in a line of the output.

    Raises:
        CallFailed: there is none; says why.
    """
    if line is None:
        raise CallFailed(f"no answer in the batch, which is {status}", retry=False)
    response = line.get("response")
    if isinstance(response, dict) and is_answered(line):
        return response.get("body")
    problem = line.get("error") or (response.get("body") if isinstance(response, dict) else None)
    inner = problem.get("error", problem) if isinstance(problem, dict) else problem
    told = inner.get("message") if isinstance(inner, dict) else inner
    code = response.get("status_code") if isinstance(response, dict) else "no status"
    raise CallFailed(f"in the batch: {code}: {str(told)[:300]}", retry=False)


def _digest(content: bytes) -> str:
    return bytes_digest(content)[:40]


def _parsed(line: str) -> Line:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
