"""The comments of one pull request on GitHub, or merge request on GitLab: one is ours, and is updated."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from harness.errors import UsageError
from harness.models.endpoint import is_loopback, require_address
from harness.records import Json

if TYPE_CHECKING:
    from httpx2 import Client, Response

TIMEOUT_S = 30.0
MOST_PAGES = 100  # of 100 comments


class NotPosted(Exception):  # noqa: N818 - no error: the decision stands, and its job goes on
    """Why there is no comment, on one line."""


@dataclass(frozen=True)
class Thread:
    """Where the comments of one request are, and who writes ours.

    Args:
        forge: its name.
        api: address of its API.
        every, one: paths of all comments, and of one, whose id follows.
        updates: the method that changes one.
        whoami: the path that says whose the token is, where the forge tells.
        headers: with the token.
        links: to the run, by name.
        commit: that was judged.
        hint: what lets a token write comments.
    """

    forge: str
    api: str
    every: str
    one: str
    updates: str
    hint: str
    headers: Mapping[str, str] = field(repr=False)
    links: Mapping[str, str] = field(default_factory=dict)
    commit: str = ""

    def is_ours(self, comment: Mapping[str, Json], user: Mapping[str, Json]) -> bool:
        """Whether the token's user wrote it: anybody may copy a mark, and could change what we wrote there.

        A workflow's own token does not tell whose it is: it writes as a bot.
        """
        author = cast("Mapping[str, Json]", comment.get("user") or comment.get("author") or {})
        return author.get("id") == user["id"] if user else author.get("type") == "Bot"


def github_thread(number: int | None) -> Thread:
    """As the variables of a step of GitHub Actions say.

    Raises:
        NotPosted: the step is not of a pull request, or has no token.
    """
    repository, event = _required("GITHUB_REPOSITORY"), _event()
    pull = _part(event, "pull_request")
    number = number or _number(pull, "number") or _number(event, "number")
    if number is None and _part(event, "issue").get("pull_request"):
        number = _number(_part(event, "issue"), "number")
    if number is None and (ref := re.fullmatch(r"refs/pull/(\d+)/\w+", os.environ.get("GITHUB_REF", ""))):
        number = int(ref[1])
    if number is None:
        raise NotPosted("this step is not of a pull request")
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    run = os.environ.get("GITHUB_RUN_ID")
    return Thread(
        forge="GitHub",
        api=os.environ.get("GITHUB_API_URL", "https://api.github.com"),
        every=f"/repos/{repository}/issues/{number}/comments",
        one=f"/repos/{repository}/issues/comments",
        updates="PATCH",
        hint="give the job `permissions: pull-requests: write`; for a pull request from a fork there is none",
        headers={
            "Authorization": f"Bearer {_required('GITHUB_TOKEN')}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        },
        links={"run": f"{server}/{repository}/actions/runs/{run}"} if run else {},
        commit=str(_part(pull, "head").get("sha") or os.environ.get("GITHUB_SHA", "")),
    )


def gitlab_thread(number: int | None) -> Thread:
    """As the variables of a job of GitLab say.

    Raises:
        NotPosted: the job is not of a merge request, or has no token.
    """
    request = str(number or os.environ.get("CI_MERGE_REQUEST_IID", ""))
    if not request:
        raise NotPosted("this job is not of a merge request")
    project = quote(_required("CI_PROJECT_ID"), safe="")
    own = os.environ.get("GITLAB_TOKEN")
    notes = f"/projects/{project}/merge_requests/{request}/notes"
    job = os.environ.get("CI_JOB_URL")
    return Thread(
        forge="GitLab",
        api=_required("CI_API_V4_URL"),
        every=notes,
        one=notes,
        updates="PUT",
        hint="set GITLAB_TOKEN to a project access token with the scope api; a job's own may write no notes",
        headers={"PRIVATE-TOKEN": own} if own else {"JOB-TOKEN": _required("CI_JOB_TOKEN")},
        links={"job": job, "report": f"{job}/artifacts/browse"} if job else {},
        commit=os.environ.get("CI_COMMIT_SHA", ""),
    )


def post(thread: Thread, mark: str, body: str) -> str:
    """Write ``body`` into our comment with the ``mark``, or into a new one; what was done, in words.

    Copies, which two jobs that end at the same time may leave, are removed.

    Raises:
        NotPosted: the forge refused, or cannot be reached.
        UsageError: its address is none that a token may be sent to.
    """
    from httpx2 import Client, HTTPError, InvalidURL

    try:
        api = require_address(thread.api).rstrip("/")
    except UsageError as error:
        raise UsageError(f"the address of {thread.forge}'s API: {error}") from None
    try:
        with Client(
            base_url=api,
            headers={**thread.headers, "User-Agent": "finetune-harness"},
            timeout=TIMEOUT_S,
            trust_env=not is_loopback(api),  # a proxy would be asked for 127.0.0.1
        ) as client:
            user = _whoami(thread, client)
            ours = [
                one
                for one in _comments(thread, client)
                if str(one.get("body", "")).startswith(mark) and thread.is_ours(one, user)
            ]
            ours.sort(key=lambda one: _number(one, "id") or 0)
            if not ours:
                made = _taken(thread, client.post(thread.every, json={"body": body}))
                return f"commented on {thread.forge}: {_address(made, thread)}"
            first, *copies = (f"{thread.one}/{one['id']}" for one in ours)
            made = _taken(thread, client.request(thread.updates, first, json={"body": body}))
            for copy in copies:
                client.delete(copy)
            return f"updated the comment on {thread.forge}: {_address(made, thread)}"
    except (HTTPError, InvalidURL) as error:
        raise NotPosted(f"{thread.forge} was not reached: {type(error).__name__}: {error}") from error


def _whoami(thread: Thread, client: Client) -> Mapping[str, Json]:
    """The token's user; empty where the forge does not say."""
    answer = client.get("/user")
    found = _object(answer) if answer.is_success else {}
    if not found and thread.forge == "GitLab" and os.environ.get("GITLAB_USER_ID", "").isdecimal():
        return {"id": int(os.environ["GITLAB_USER_ID"])}  # whose job it is: a job's token writes as that user
    return found if "id" in found else {}


def _comments(thread: Thread, client: Client) -> Iterator[Mapping[str, Json]]:
    """All comments, page by page."""
    path: str | None = f"{thread.every}?per_page=100"
    for _ in range(MOST_PAGES):
        if path is None:
            return
        answer = client.get(path)
        found = _parsed(_accepted(thread, answer))
        yield from (one for one in found if isinstance(one, dict)) if isinstance(found, list) else ()
        following = answer.links.get("next", {}).get("url")
        # not to another host, which would get the token
        path = following if following and client.base_url.host == answer.url.join(following).host else None


def _accepted(thread: Thread, answer: Response) -> Response:
    if answer.is_success:
        return answer
    said = str(_object(answer).get("message") or _object(answer).get("error") or answer.reason_phrase)
    hint = f". hint: {thread.hint}" if answer.status_code in (401, 403, 404) else ""
    raise NotPosted(f"{thread.forge} answered {answer.status_code}: {said[:200]}{hint}")


def _taken(thread: Thread, answer: Response) -> Mapping[str, Json]:
    return _object(_accepted(thread, answer))


def _parsed(answer: Response) -> Json:
    try:
        return answer.json()
    except ValueError:  # a proxy's page
        return None


def _object(answer: Response) -> Mapping[str, Json]:
    found = _parsed(answer)
    return found if isinstance(found, dict) else {}


def _address(made: Mapping[str, Json], thread: Thread) -> str:
    return str(made.get("html_url") or f"{thread.one}/{made.get('id', '')}")


def _required(variable: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise NotPosted(f"{variable} is not set")
    return value


def _event() -> Mapping[str, Json]:
    """What started the workflow; empty where nobody says."""
    try:
        found = json.loads(Path(os.environ.get("GITHUB_EVENT_PATH", "")).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _part(found: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    part = found.get(name)
    return part if isinstance(part, dict) else {}


def _number(found: Mapping[str, Json], name: str) -> int | None:
    number = found.get(name)
    return number if isinstance(number, int) else None
