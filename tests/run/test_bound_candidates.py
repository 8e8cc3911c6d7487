"""A candidate's schema: read, held or refused beforehand, carried to its baseline, and part of keys alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from planned_project import EIGHT, HOSTED, NOWHERE, Project
from tiny_llama import build_source

from harness import JsonSchema, LoRA, OpenAITuning, Prompted, RemoteModel
from harness.candidates.base import Candidate
from harness.errors import HarnessError
from harness.models.protocol import Decoding
from harness.records import Json
from harness.run.session import Session

SCHEMA: dict[str, Json] = {"enum": ["yes", "no"]}
TUNED = LoRA(base="base", train="train.jsonl", decoding=EIGHT)
ASKED = Prompted(model=RemoteModel("gpt-4o-mini", base_url=NOWHERE, profile="twin"), decoding=EIGHT)
VALID = (JsonSchema(SCHEMA, name="valid"),)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.suite(answer='"yes"')
    made.write("shapes/answer.json", json.dumps(SCHEMA))
    (tmp_path / "base").mkdir()
    build_source(tmp_path / "base")
    return made


def run(project: Project, candidate: Candidate, *, checked: bool = True) -> Session:
    project.candidates = {"it": candidate}
    return project.run(scores=VALID) if checked else project.run()


def keys(made: Session) -> list[tuple[str, Decoding]]:
    """Of the candidate and of its own baseline: the context that answers are kept in, and the decoding."""
    found = []
    for arm, variant in made.selection.variants():
        prepared = arm.candidate.estimate(made.lab_of(arm), variant).prepared
        suite = made.suites["support"]
        (call,) = made.answerer.calls(arm.candidate, prepared, suite)
        asked = made.answerer.asked(call, suite)
        found.append((asked.context, asked.decoding))
    return found


@pytest.mark.parametrize("candidate", [TUNED, ASKED, HOSTED], ids=lambda candidate: candidate.kind)
def test_both_sides_are_bound_and_only_keys_of_suites_with_a_schema_change(
    project: Project, candidate: LoRA | Prompted | OpenAITuning
) -> None:
    bound = replace(candidate, schema="shapes/answer.json")
    made = run(project, bound)
    assert list(made.problems()) == []
    decodings = [decoding for _, decoding in keys(made)]
    assert len(decodings) == 2
    for decoding in decodings:
        assert decoding.schema is not None
        assert (decoding.schema.name, decoding.schema.document) == ("shapes/answer.json", SCHEMA)
    inline = keys(run(project, replace(candidate, schema=SCHEMA)))
    assert [key for key, _ in inline] == [key for key, _ in keys(made)]  # by content, wherever it lies
    free = keys(run(project, candidate))
    assert {key for key, _ in free}.isdisjoint(key for key, _ in inline)
    assert keys(run(project, bound, checked=False)) == keys(run(project, candidate, checked=False))
    assert "schema" not in candidate.described()


def test_a_schema_shapes_no_training(project: Project) -> None:
    names = set()
    for candidate in (TUNED, replace(TUNED, schema=SCHEMA)):
        made = run(project, candidate)
        arm = made.selection.sized("it")[-1]
        training = arm.candidate.estimate(made.lab_of(arm), arm.variants[0]).training
        assert training is not None
        names.add(training.artifact)
    assert len(names) == 1


@pytest.mark.parametrize("candidate", [TUNED, ASKED, HOSTED], ids=lambda candidate: candidate.kind)
def test_a_bound_suite_may_not_offer_tools(
    project: Project, candidate: LoRA | Prompted | OpenAITuning
) -> None:
    file = project.root / "suites/support/heldout.jsonl"
    first, *others = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    first["tools"] = [{"type": "function", "function": {"name": "clock", "parameters": {}}}]
    file.write_text("\n".join(map(json.dumps, [*others, first])), encoding="utf-8")
    found = list(run(project, replace(candidate, schema=SCHEMA)).problems())
    assert len(found) == 2  # of both sides
    for problem in found:
        assert "1 of 10 rows offer tools (the first: suites/support/heldout.jsonl:10)" in str(problem)
        assert "hint: leave schema= out" in str(problem)
    unbound = run(project, replace(candidate, schema=SCHEMA), checked=False).problems()
    assert not [problem for problem in unbound if "offer tools" in str(problem)]


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ("shapes/none.json", "shapes/none.json"),
        ("shapes/broken.json", "shapes/broken.json:1: not JSON"),
        ({"type": "text"}, "not a JSON Schema: $.type"),
        ({"type": "array", "uniqueItems": True}, "answers cannot be bound to this schema: /uniqueItems"),
    ],
)
def test_a_schema_that_cannot_bind_is_a_problem_beforehand(
    project: Project, schema: str | dict[str, Json], named: str
) -> None:
    project.write("shapes/broken.json", "{")
    found: list[HarnessError] = list(run(project, replace(TUNED, schema=schema)).problems())
    assert found
    for problem in found:
        assert named in str(problem)
        assert "hint:" in str(problem)
        assert len(str(problem).splitlines()) < 6
