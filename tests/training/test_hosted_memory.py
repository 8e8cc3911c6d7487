"""A job is found again where listings do not tell what was sent, and it is said where it cannot be."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hosted_builders import (
    SETTINGS,
    FakeService,
    Killed,
    Machine,
    hooked,
    killing,
    provider_of,
    request_of,
    tuned,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HostedTrainingError, StoreError
from harness.models.profiles import AZURE, COMPATIBLE, TWIN, Profile
from harness.training.hosted.provider import RequestRejected
from harness.training.hosted.record import JobState, read_state, write_state

UNKIND: dict[str, Callable[[], FakeService]] = {
    "files come back without their size": lambda: FakeService(keeps_metadata=False, lists_bytes=False),
    "files are listed under another name": lambda: FakeService(keeps_metadata=False, lists_names=False),
    "jobs name their file by an address": lambda: FakeService(
        keeps_metadata=False, names_files_by="https://service/files/"
    ),
    "nothing tells": lambda: FakeService(
        keeps_metadata=False, lists_names=False, keeps_suffix=False, names_files_by="x-"
    ),
}
LISTED = [name for name in UNKIND if name != "nothing tells"]


@pytest.mark.parametrize("unkind", UNKIND)
@pytest.mark.parametrize("after_job", [True, False], ids=["after the job", "after the file"])
def test_a_machine_that_was_killed_remembers_what_it_began(unkind: str, after_job: bool) -> None:
    service, machine = UNKIND[unkind](), Machine()
    request = request_of(profile=COMPATIBLE)

    def hook(name: str, call: Callable[[], object]) -> object:
        if (name == "find" and after_job and service.jobs) or (name == "submit" and not after_job):
            raise Killed
        return call()

    with suppress(Killed):
        tuned(request, hooked(provider_of(service, COMPATIBLE), hook), machine=machine)
    tuned(request, service, profile=COMPATIBLE, machine=machine)
    assert len(service.jobs) == 1
    assert set(service.uploads().values()) == {1}


@settings(max_examples=80, deadline=None)
@given(
    points=st.lists(st.tuples(st.integers(0, 25), st.booleans()), min_size=1, max_size=3),
    unkind=st.sampled_from(LISTED),
    remembers=st.booleans(),
)
def test_killed_anywhere_an_unkind_service_has_one_job(
    points: list[tuple[int, bool]], unkind: str, remembers: bool
) -> None:
    service, request, machine = UNKIND[unkind](), request_of(profile=COMPATIBLE), Machine()
    for at, after in points:
        here = machine if remembers else Machine()
        with suppress(Killed):
            tuned(request, killing(provider_of(service, COMPATIBLE), at, after=after), machine=here)
    assert tuned(request, service, profile=COMPATIBLE, machine=machine).job.tuned_model
    assert len(service.jobs) == 1


@pytest.mark.parametrize("unkind", LISTED)
def test_another_machine_finds_the_job_by_its_file_or_its_suffix(unkind: str) -> None:
    service = UNKIND[unkind]()
    for _ in range(2):
        tuned(request_of(profile=COMPATIBLE), service, profile=COMPATIBLE)
    assert len(service.jobs) == 1


@pytest.mark.parametrize("profile", [COMPATIBLE, AZURE], ids=lambda p: p.name)
def test_a_job_is_found_when_its_training_file_has_been_deleted(profile: Profile) -> None:
    service, request = FakeService(keeps_metadata=False), request_of(profile=profile)
    first = tuned(request, service, profile=profile).job
    service.files.clear()
    assert tuned(request, service, profile=profile).job.id == first.id


def test_where_no_listing_can_tell_the_job_that_is_said() -> None:
    request = request_of(profile=COMPATIBLE)
    machine, kind = Machine(), Machine()
    tuned(request, UNKIND["nothing tells"](), profile=COMPATIBLE, machine=machine)
    (said,) = (text for text in machine.said if "does not list" in text)
    assert "ftjob-0" in said
    tuned(request, FakeService(keeps_metadata=False), profile=COMPATIBLE, machine=kind)
    assert not any("does not list" in text for text in kind.said)


def test_a_job_that_is_remembered_is_looked_at_before_anything_is_listed() -> None:
    service, machine, request = FakeService(), Machine(), request_of()
    tuned(request, service, machine=machine)
    service.asked.clear()
    tuned(request, service, machine=machine)
    assert service.asked[0] == "jobs.retrieve"
    assert not {"jobs.list", "files.list"} & set(service.asked)


def test_a_remembered_job_that_the_service_does_not_know_is_begun_anew() -> None:
    service = FakeService()
    machine = Machine(JobState({request_of().training.name: "file-gone"}, job="ftjob-gone"))
    assert tuned(request_of(), service, machine=machine).job.id == "ftjob-0"
    assert machine.known.job == "ftjob-0"


def test_a_remembered_job_that_may_not_be_looked_at_is_no_reason_for_another() -> None:
    no = RequestRejected("no", status=401, code="invalid_api_key")
    service = FakeService(refuses={"jobs.retrieve": no})
    with pytest.raises(HostedTrainingError, match="invalid_api_key"):
        tuned(request_of(), service, machine=Machine(JobState(job="ftjob-0")))
    assert not service.jobs


# --------------------------------------------------------------------------- the mark in the suffix
def test_the_suffix_ends_in_the_fingerprint_where_there_is_no_metadata_and_room_for_it() -> None:
    named = replace(SETTINGS, suffix="support")
    request = request_of(named, profile=COMPATIBLE)
    without = provider_of(FakeService(), COMPATIBLE)
    assert without.body(request, "f", None)["suffix"] == f"support-{request.fingerprint[:12]}"
    assert without.body(request, "f", None, marked=False)["suffix"] == "support"
    assert provider_of(FakeService(), TWIN).body(request_of(named), "f", None)["suffix"] == "support"
    long = request_of(replace(SETTINGS, suffix="s" * 30), profile=COMPATIBLE)
    assert without.body(long, "f", None)["suffix"] == "s" * 30


def test_a_service_that_takes_no_suffix_gets_none() -> None:
    service = FakeService(keeps_metadata=False)
    create = service._create

    def strict(model: str, training_file: str, extra_body: dict[str, object]) -> object:
        if "suffix" in extra_body:
            raise RequestRejected("Unknown parameter: 'suffix'.", code="unknown_parameter", param="suffix")
        return create(model, training_file, extra_body)

    service._create = strict  # type: ignore[method-assign, assignment]
    assert tuned(request_of(profile=COMPATIBLE), service, profile=COMPATIBLE).job.id == "ftjob-0"


# --------------------------------------------------------------------------- the file
def test_the_state_of_a_job_is_read_back(tmp_path: Path) -> None:
    artifact = tmp_path / "adapters" / "abc"
    assert read_state(artifact) == JobState()
    state = JobState({"a.jsonl": "file-1"}, "ftjob-1", "2027-01-14", ("a note",))
    write_state(artifact, replace(state, job=None))
    write_state(artifact, state)
    assert read_state(artifact) == state
    assert [file.name for file in (tmp_path / "adapters").iterdir()] == ["abc.job.json"]


def test_a_state_that_an_earlier_version_wrote_is_read(tmp_path: Path) -> None:
    text = '{"files": {"harness-e2.jsonl": "file-0"}, "job": "ftjob-0", "ends": null, "notes": []}'
    (tmp_path / "abc.job.json").write_text(text, encoding="utf-8")
    assert read_state(tmp_path / "abc") == JobState({"harness-e2.jsonl": "file-0"}, "ftjob-0")


@pytest.mark.parametrize(
    "text", ['{"files": {}, "ends": null, "notes": []}', "", "[]", '{"files": []}', '{"files": {}, "job": 1}']
)
def test_a_file_that_cannot_be_read_is_an_error_that_says_which(tmp_path: Path, text: str) -> None:
    (tmp_path / "abc.job.json").write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match=r"abc\.job\.json cannot be read: delete it"):
        read_state(tmp_path / "abc")
