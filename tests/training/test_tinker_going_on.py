"""A training over Tinker's wire that is killed, refused or lost goes on and pays nothing twice."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import tinker
from tinker.types import RequestErrorCategory
from tinker_builders import BASE, Killed, Machine, Run, Wire, examples, job_of, refused, service_of

from harness.errors import HostedTrainingError, StoreError, TrainingError
from harness.training.hosted.budget import JobBudget
from harness.training.tinker.loop import TinkerJob, TinkerState, read_state, write_state
from harness.training.tinker.plan import DevLoss
from harness.training.tinker.service import FINGERPRINT_KEY, URL, look

JOB = job_of()
POINTS = range(30)  # calls of one training, up to the last state that is deleted
IN_STEP_7 = 19  # its step of the optimizer; states are those of steps 3 and 6


def undisturbed(job: TinkerJob = JOB) -> tuple[object, ...]:
    wire = Wire()
    return wire.weights_at(Machine(wire).train(job).model)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("forgets", [False, True], ids=["here", "another machine"])
def test_killed_at_any_call_and_run_again_it_is_one_training(after: bool, forgets: bool) -> None:
    """30 points each: the same steps in order, and no more paid than those since the last state."""
    wanted, plan = undisturbed(), JOB.plan
    at_most = JOB.save_every * max(map(plan.step_tokens, plan.steps)) + plan.dev_tokens
    for at in POINTS:
        wire = Wire()
        wire.killed_at, wire.after = at, after
        machine = Machine(wire)
        with suppress(Killed):
            machine.train(JOB)
        wire.killed_at = -1
        again = Machine(wire) if forgets else machine
        paid, reserved = wire.billed, [0]

        def money(tokens: int, into: list[int] = reserved) -> JobBudget:
            into.append(tokens)
            return JobBudget()

        tuned = again.train(JOB, money=money)
        assert wire.billed - paid == reserved[-1], f"killed at call {at}: the cap is that exactly"
        assert wire.weights_at(tuned.model) == wanted, f"killed at call {at}"
        assert plan.tokens() <= wire.billed <= plan.tokens() + at_most, f"killed at call {at}"
        assert wire.stored() == [tuned.model]
        if not forgets:
            assert [point.step for point in tuned.points] == [4, 8]
            assert all(point.dev_loss is not None for point in tuned.points)


def test_killed_four_times_it_still_ends() -> None:
    wire, wanted = Wire(), undisturbed()
    machine = Machine(wire)
    for _ in range(4):
        wire.killed_at = len(wire.calls) + 17
        with suppress(Killed):
            machine.train(JOB)
    wire.killed_at = -1
    assert wire.weights_at(machine.train(JOB).model) == wanted


def test_with_a_state_at_every_step_nothing_is_paid_twice() -> None:
    job = job_of(save_every=1, plan=replace(JOB.plan, dev=()))
    for at in range(30):
        wire = Wire()
        wire.killed_at = at
        machine = Machine(wire)
        with pytest.raises(Killed):
            machine.train(job)
        is_within_a_step = wire.calls[at] in ("step", "save", "final")
        wire.killed_at = -1
        machine.train(job)
        lost = max(map(job.plan.step_tokens, job.plan.steps)) if is_within_a_step else 0
        assert wire.billed <= job.plan.tokens() + lost


def test_a_trained_model_is_found_by_another_machine_and_costs_nothing() -> None:
    wire = Wire()
    first = Machine(wire).train(JOB)
    paid = wire.billed
    second = Machine(wire).train(JOB)
    assert (second.model, wire.billed) == (first.model, paid)
    assert Counter(wire.calls)["create"] == 1


def test_a_training_that_another_machine_is_at_is_waited_for() -> None:
    """Two machines begin at once: the second looks on until the first has ended, and pays nothing."""
    wire = Wire()
    wire.killed_at = IN_STEP_7
    first = Machine(wire)
    with suppress(Killed):
        first.train(JOB)
    wire.killed_at = -1
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        run = next(iter(wire.runs.values()))
        run.asked += timedelta(seconds=seconds)
        if len(looks) == 3:
            first.train(JOB)

    before = Counter(wire.calls)["create"]
    tuned = Machine(wire).train(JOB, sleep=sleep)
    assert len(looks) == 3
    assert wire.weights_at(tuned.model) == undisturbed()
    assert wire.stored() == [tuned.model]
    assert (before, Counter(wire.calls)["create"], Counter(wire.calls)["load"]) == (1, 1, 1)


def test_the_right_session_is_found_among_many() -> None:
    """Sessions of other trainings, empty ones, and pages of two."""
    wire = Wire()
    for k in range(3):
        Machine(wire).train(job_of(f"{k}" * 64))
    wire.sessions["empty-1"] = {FINGERPRINT_KEY: JOB.fingerprint}
    machine = Machine(wire)
    wire.killed_at = len(wire.calls) + IN_STEP_7
    with suppress(Killed):
        machine.train(JOB)
    wire.killed_at = -1
    for k in range(3):
        wire.sessions[f"empty-{k + 2}"] = {FINGERPRINT_KEY: JOB.fingerprint}
    assert wire.weights_at(Machine(wire).train(JOB).model) == undisturbed()


@pytest.mark.parametrize(
    ("base", "rank", "key", "marks"),
    [
        ("other/base", 8, "harness-step-000006", {FINGERPRINT_KEY: JOB.fingerprint}),
        (BASE, 16, "harness-step-000006", {FINGERPRINT_KEY: JOB.fingerprint}),
        (BASE, 8, "harness-step-000099", {FINGERPRINT_KEY: JOB.fingerprint}),
        (BASE, 8, "my-own-checkpoint", {FINGERPRINT_KEY: JOB.fingerprint}),
        (BASE, 8, "harness-step-000006", {FINGERPRINT_KEY: "a" * 64}),
        (BASE, 8, "harness-step-000006", {FINGERPRINT_KEY: JOB.fingerprint, "harness_step": "5"}),
    ],
    ids=["base", "rank", "step beyond", "name", "another training's", "step contradicts"],
)
def test_what_only_carries_the_name_is_not_gone_on_from(
    base: str, rank: int, key: str, marks: dict[str, str]
) -> None:
    wire = Wire()
    wire.sessions["foreign"] = {FINGERPRINT_KEY: JOB.fingerprint}
    wire.runs["foreign:train:0"] = Run("foreign", base, rank, {FINGERPRINT_KEY: JOB.fingerprint}, ("odd",))
    wire.save("foreign:train:0", "weights", key, None, marks)
    tuned = Machine(wire).train(JOB)
    assert wire.weights_at(tuned.model) == undisturbed()
    assert f"tinker://foreign:train:0/weights/{key}" in wire.stored()  # not ours to delete
    if (base, rank) != (BASE, 8):
        assert any("trained something else" in note for note in tuned.notes)


def test_a_lost_session_is_passed_over_and_an_expired_state_left_for_the_one_before() -> None:
    wire = Wire()
    machine = Machine(wire)
    wire.killed_at = IN_STEP_7
    with suppress(Killed):
        machine.train(JOB)
    wire.killed_at = -1
    states = [path for path in wire.stored() if "step" in path]
    assert len(states) == 2
    machine.state = replace(machine.state, sessions=("gone-forever", *machine.state.sessions))
    load = iter([refused(404, "expired"), None, None])
    wire.refuse = lambda call: next(load) if call == "load" else None
    paid = wire.billed
    tuned = machine.train(JOB)
    assert wire.weights_at(tuned.model) == undisturbed()
    assert wire.billed - paid == JOB.plan.tokens(3)


def test_a_session_that_ends_halfway_is_followed_by_another() -> None:
    wire, refused_once = Wire(), iter([refused(410, "session has ended")])
    wire.refuse = lambda call: (
        next(refused_once, None) if call == "pass" and wire.calls.count("pass") == 6 else None
    )
    tuned = Machine(wire).train(JOB)
    assert wire.weights_at(tuned.model) == undisturbed()
    assert wire.calls.count("load") == 1


def test_a_service_that_stays_ill_is_left_after_three_sessions() -> None:
    wire = Wire()
    wire.refuse = lambda call: refused(503, "ill") if call == "pass" else None
    with pytest.raises(HostedTrainingError, match="run again"):
        Machine(wire).train(JOB)
    assert wire.calls.count("create") == 3
    assert wire.billed == 0


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (refused(401, "no"), "key belongs to this service"),
        (refused(402, "no billing"), "billing"),
        (refused(422, "base_model x is not supported"), "a name that it trains"),
        (tinker.RequestFailedError("bad tokens", "r", RequestErrorCategory.User), "tokenizer="),
        (tinker.TinkerError("connection refused"), "check the address"),
        (ValueError("Error retrieving result: gone"), "check the address"),
    ],
    ids=["key", "billing", "base", "user's", "connection", "result"],
)
def test_a_refusal_is_told_once_with_a_way_out(error: BaseException, says: str) -> None:
    wire = Wire()
    wire.refuse = lambda call: error if call == "create" else None
    with pytest.raises(HostedTrainingError, match=says):
        Machine(wire).train(JOB)
    assert wire.calls.count("create") == 1


def test_no_refusal_shows_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_API_KEY", "tml-very-secret")
    wire = Wire()
    wire.refuse = lambda call: refused(403, "tml-very-secret may not") if call == "create" else None
    with pytest.raises(HostedTrainingError) as told:
        Machine(wire).train(JOB)
    assert "tml-very-secret" not in str(told.value)


def test_where_it_cannot_be_looked_nothing_is_begun() -> None:
    wire = Wire()
    wire.refuse = lambda call: refused(500, "down") if call == "search" else None
    with pytest.raises(HostedTrainingError):
        Machine(wire).train(JOB)
    assert not wire.sessions


@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize("at", [IN_STEP_7, 24])  # in a step, and after the model was saved
def test_a_server_without_search_is_known_by_this_machine(lists: bool, at: int) -> None:
    wire = Wire()
    wire.searches = False
    if not lists:
        wire.refuse = lambda call: refused(404, "Not Found") if call in ("session", "checkpoints") else None
    machine = Machine(wire)
    wire.killed_at = at
    with pytest.raises(Killed):
        machine.train(JOB)
    wire.killed_at = -1
    paid = wire.billed
    tuned = machine.train(JOB)
    assert wire.weights_at(tuned.model) == undisturbed()
    # the answer that names the state of step 6 is on its way when the process ends
    assert wire.billed - paid == (JOB.plan.tokens(6 if lists else 3) if at == IN_STEP_7 else 0)
    left = {path for path in wire.stored() if path != tuned.model}
    assert len(left) == (at == IN_STEP_7 and not lists)  # it expires
    assert any("cannot search" in note for note in tuned.notes)


def test_a_loss_that_is_no_number_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire()
    monkeypatch.setattr("harness.training.tinker.loop._logprobs", lambda output, rows: [[float("nan")] * 99])
    with pytest.raises((TrainingError, HostedTrainingError)):
        Machine(wire).train(job_of(plan=replace(JOB.plan, dev=())))


def test_what_is_stored_is_said_and_states_are_kept_on_request_only() -> None:
    wire = Wire()
    tuned = Machine(wire).train(job_of(keep_states=True, keep_days=None))
    assert len(wire.stored()) == 4  # steps 3, 6 and 8, and the model
    assert tuned.expires is None
    assert any("keep_states=True" in note for note in tuned.notes)
    assert any("until somebody deletes it" in note for note in tuned.notes)


def test_the_state_survives_and_a_broken_one_says_what_to_do(tmp_path: Path) -> None:
    artifact = tmp_path / "a"
    assert read_state(artifact) == TinkerState()
    state = TinkerState(("s",), {1: 0.5}, {2: DevLoss(0.25, None)}, 1.5, {2: "tinker://a"}, "tinker://b")
    write_state(artifact, state)
    assert read_state(artifact) == state
    (tmp_path / "a.job.json").write_text('{"losses": 1}', encoding="utf-8")
    with pytest.raises(StoreError, match="delete it"):
        read_state(artifact)


def test_where_the_service_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from tinker.lib.base_url import DEFAULT_BASE_URL

    from harness.training.tinker.service import TinkerService

    monkeypatch.delenv("TINKER_BASE_URL", raising=False)
    assert TinkerService().url == URL == DEFAULT_BASE_URL
    asked = TinkerService().model("m")
    assert asked.url == f"{URL}/oai/api/v1"
    assert asked.endpoint.key_variable == "TINKER_API_KEY"
    assert look(service_of(Wire()), Wire().rest(), "f", BASE, 8, 9).states == ()
    assert examples(1)[0].supervised


def test_a_run_that_nobody_has_named_is_not_taken_for_ours() -> None:
    """A server that ignores the filter and shows no marks would have any other training answer."""
    wire = Wire()
    other = Machine(wire).train(job_of("e" * 64))
    for run in wire.runs.values():
        run.marks.clear()
    wire.sessions = {name: {} for name in wire.sessions}
    wire.ignores_filter = True
    assert Machine(wire).train(JOB).model != other.model
