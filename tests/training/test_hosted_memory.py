"""A job is found again where listings do not tell what was sent, and it is said where it cannot be."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hosted_builders import (
    HOUR_S,
    NO_WAITING,
    SPEC,
    TODAY,
    FakeService,
    Killed,
    Killing,
    Machine,
    order_of,
    tuned,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HostedTrainingError, StoreError
from harness.models.profiles import AZURE, COMPATIBLE, TWIN
from harness.models.progress import SilentBar
from harness.training.hosted.driver import drive
from harness.training.hosted.memory import Memory
from harness.training.hosted.protocol import tune
from harness.training.hosted.requests import (
    AnyRequest,
    CreateJob,
    GetJob,
    ListFiles,
    ListJobs,
    Refused,
    Remembered,
)

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
    order = order_of(profile=COMPATIBLE)

    def reply(request: AnyRequest) -> object:
        if after_job and service.jobs and isinstance(request, ListJobs):
            raise Killed
        if not after_job and isinstance(request, CreateJob):
            raise Killed
        return service.reply(request)

    with suppress(Killed):
        drive(
            tune(order, TODAY, HOUR_S),
            Killing(reply, 10**6, after=False),
            SilentBar(),
            NO_WAITING,
            "",
            machine.beside,
        )
    tuned(order, service, machine=machine)
    assert len(service.jobs) == 1
    assert set(service.uploads().values()) == {1}


@settings(max_examples=150, deadline=None)
@given(
    points=st.lists(st.tuples(st.integers(0, 25), st.booleans()), min_size=1, max_size=3),
    unkind=st.sampled_from(LISTED),
    remembers=st.booleans(),
)
def test_killed_anywhere_an_unkind_service_has_one_job(
    points: list[tuple[int, bool]], unkind: str, remembers: bool
) -> None:
    service, order, machine = UNKIND[unkind](), order_of(profile=COMPATIBLE), Machine()
    for at, after in points:
        here = machine if remembers else Machine()
        steps = tune(order, TODAY, HOUR_S, here.known)
        killing = Killing(service.reply, at, after=after)
        with suppress(Killed):
            drive(steps, killing, SilentBar(), NO_WAITING, "", here.beside)
    assert tuned(order, service, machine=machine).job.tuned_model
    assert len(service.jobs) == 1


@pytest.mark.parametrize("unkind", LISTED)
def test_another_machine_finds_the_job_by_its_file_or_its_suffix(unkind: str) -> None:
    service, order = UNKIND[unkind](), order_of(profile=COMPATIBLE)
    tuned(order, service)
    tuned(order, service)
    assert len(service.jobs) == 1


@pytest.mark.parametrize("profile", [COMPATIBLE, AZURE], ids=lambda p: p.name)
def test_a_job_is_found_when_its_training_file_has_been_deleted(profile: object) -> None:
    assert isinstance(profile, type(COMPATIBLE))
    service, order = FakeService(keeps_metadata=False), order_of(profile=profile)
    first = tuned(order, service).job
    service.files.clear()
    assert tuned(order, service).job.id == first.id


def test_where_no_listing_can_tell_the_job_that_is_said() -> None:
    machine = Machine()
    tuned(order_of(profile=COMPATIBLE), UNKIND["nothing tells"](), machine=machine)
    (said,) = (text for text in machine.said if "does not list" in text)
    assert "ftjob-0" in said
    kind = Machine()
    tuned(order_of(profile=COMPATIBLE), FakeService(keeps_metadata=False), machine=kind)
    assert not any("does not list" in text for text in kind.said)


def test_a_job_that_is_remembered_is_looked_at_before_anything_is_listed() -> None:
    service, machine, order = FakeService(), Machine(), order_of()
    tuned(order, service, machine=machine)
    service.asked.clear()
    tuned(order, service, machine=machine)
    assert isinstance(service.asked[0], GetJob)
    assert not any(isinstance(request, ListJobs | ListFiles) for request in service.asked)


def test_a_remembered_job_that_the_service_does_not_know_is_begun_anew() -> None:
    service = FakeService()
    machine = Machine(Remembered({order_of().training.name: "file-gone"}, job="ftjob-gone"))
    assert tuned(order_of(), service, machine=machine).job.id == "ftjob-0"
    assert machine.known.job == "ftjob-0"


def test_a_remembered_job_that_may_not_be_looked_at_is_no_reason_for_another() -> None:
    service = FakeService(refuses={GetJob: Refused(401, "invalid_api_key", "no", None)})
    with pytest.raises(HostedTrainingError, match="invalid_api_key"):
        tuned(order_of(), service, machine=Machine(Remembered(job="ftjob-0")))
    assert not service.jobs


# --------------------------------------------------------------------------- the mark in the suffix
def test_the_suffix_ends_in_the_fingerprint_where_there_is_no_metadata_and_room_for_it() -> None:
    spec = replace(SPEC, suffix="support")
    order = order_of(spec, profile=COMPATIBLE)
    assert order.body("f", None)["suffix"] == f"support-{order.fingerprint[:12]}"
    assert order.body("f", None, marked=False)["suffix"] == "support"
    assert order_of(spec, profile=TWIN).body("f", None)["suffix"] == "support"
    long = replace(SPEC, suffix="s" * 30)
    assert order_of(long, profile=COMPATIBLE).body("f", None)["suffix"] == "s" * 30


def test_a_service_that_takes_no_suffix_gets_none() -> None:
    service = FakeService(keeps_metadata=False)

    def reply(request: AnyRequest) -> object:
        if isinstance(request, CreateJob) and "suffix" in request.body:
            raise Refused(400, "unknown_parameter", "Unknown parameter: 'suffix'.", "suffix")
        return service.reply(request)

    order = order_of(profile=COMPATIBLE)
    done = drive(tune(order, TODAY, HOUR_S), Killing(reply, 10**6, after=False), SilentBar(), NO_WAITING)
    assert done.job.id == "ftjob-0"


# --------------------------------------------------------------------------- the file
def test_what_is_remembered_is_read_back(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "adapters" / "abc")
    assert memory.read() == Remembered()
    known = Remembered({"a.jsonl": "file-1"}, "ftjob-1", "2027-01-14", ("a note",))
    memory.write(replace(known, job=None))
    memory.write(known)
    assert memory.read() == known
    assert [file.name for file in (tmp_path / "adapters").iterdir()] == ["abc.job.json"]


@pytest.mark.parametrize("text", ["", "[]", '{"files": []}', '{"files": {}, "job": 1}'])
def test_a_file_that_cannot_be_read_is_an_error_that_says_which(tmp_path: Path, text: str) -> None:
    (tmp_path / "abc.job.json").write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match=r"abc\.job\.json cannot be read: delete it"):
        Memory(tmp_path / "abc").read()
