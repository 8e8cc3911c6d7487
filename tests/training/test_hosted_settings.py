"""A hosted candidate as users write it: what cannot be is refused with a hint, before anything is sent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hosted_builders import BASE, rows

from harness.candidates.hosted_tuning import OpenAITuning, WandB
from harness.candidates.prompted import Prompted
from harness.errors import DataError, UnknownName, UsageError
from harness.models.profiles import AZURE, COMPATIBLE, NEBIUS, OPENAI, PROFILES, TWIN, Profile, profile_of
from harness.models.remote import RemoteModel
from harness.records import Message, Row
from harness.training.hosted.openai import OpenAIProvider
from harness.training.hosted.provider import Capabilities
from harness.training.hosted.request import JobRequest, make_request

SPEC = OpenAITuning(base=BASE, train="train.jsonl", base_url="https://api.openai.com/v1")


def at(profile: Profile) -> Capabilities:
    return OpenAIProvider("https://api.openai.com/v1", profile=profile.name).capabilities


def request_of(spec: OpenAITuning, given: tuple[Row, ...]) -> JobRequest:
    return make_request(spec.settings(), given, (), 0, names_job=False)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"epochs": 2.5}, "whole number"),
        ({"epochs": True}, "whole number"),
        ({"epochs": 51}, "1 to 50"),
        ({"batch_size": "big"}, "'auto'"),
        ({"learning_rate_multiplier": 0}, "above 0"),
        ({"learning_rate_multiplier": float("inf")}, "above 0"),
        ({"learning_rate_multiplier": "high"}, "'auto'"),
        ({"checkpoint": "first"}, "'last' or 'best', or a whole number"),
        ({"checkpoint": 0}, "at least 1"),
        ({"checkpoint": "best"}, "dev='dev.jsonl'"),
        ({"metadata": {"harness_x": "1"}}, "harness_"),
        ({"metadata": {"k": "v" * 513}}, "512"),
        ({"metadata": {str(k): "v" for k in range(16)}}, "at most 15"),
        ({"patience_hours": 0}, "above 0"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        OpenAITuning(**{"base": BASE, "train": "t.jsonl", **fields})


@pytest.mark.parametrize(
    ("fields", "profile", "says"),
    [
        ({"learning_rate_multiplier": 2.0}, NEBIUS, "the learning rate itself"),
        ({"learning_rate_multiplier": 1e-5}, OPENAI, "learn nothing"),
        ({"suffix": "s" * 41}, AZURE, "at most 40"),
        ({"metadata": {"team": "a"}}, COMPATIBLE, "no metadata there"),
        ({"wandb": WandB(project="p")}, COMPATIBLE, "no wandb there"),
    ],
)
def test_a_setting_that_the_provider_would_take_otherwise_is_refused(
    fields: dict[str, Any], profile: Profile, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        replace(SPEC, **fields).require_fit(at(profile))


def test_a_setting_that_fits_is_taken() -> None:
    replace(SPEC, learning_rate_multiplier=1e-5).require_fit(at(NEBIUS))
    replace(SPEC, learning_rate_multiplier=1.8, wandb=WandB(project="p")).require_fit(at(OPENAI))


@pytest.mark.parametrize(
    ("url", "profile"),
    [
        ("https://api.openai.com/v1", OPENAI),
        ("https://eu.api.openai.com/v1", OPENAI),
        ("https://mine.openai.azure.com/openai/v1/", AZURE),
        ("https://mine.services.ai.azure.com/openai/v1/", AZURE),
        ("https://api.tokenfactory.nebius.com/v1/", NEBIUS),
        ("http://127.0.0.1:8000/v1", COMPATIBLE),
        ("https://api.openai.com.example.org/v1", COMPATIBLE),
        ("https://notnebius.com/v1", COMPATIBLE),
    ],
)
def test_the_provider_is_told_by_the_address(url: str, profile: Profile) -> None:
    assert profile_of(None, url) is profile


def test_a_named_profile_comes_first_and_an_unknown_one_lists_those_that_are() -> None:
    assert profile_of("twin", "https://api.openai.com/v1") is TWIN
    with pytest.raises(UnknownName, match=f"There are: {', '.join(sorted(PROFILES))}"):
        profile_of("opnai", "https://api.openai.com/v1")


def test_its_own_baseline_is_the_base_at_the_same_service() -> None:
    own = replace(SPEC, base_url="http://127.0.0.1:8000/v1", api_key_env="MINE").own_baseline()
    assert isinstance(own, Prompted)
    remote: object = own.model
    assert isinstance(remote, RemoteModel)
    assert (remote.model, remote.base_url, remote.api_key_env) == (BASE, "http://127.0.0.1:8000/v1", "MINE")


AZURE_SPEC = OpenAITuning(
    base="gpt-4.1-mini", train="t.jsonl", base_url="https://x.openai.azure.com/openai/v1"
)


def test_a_baseline_that_must_be_deployed_is_asked_for_by_its_deployment() -> None:
    with pytest.raises(UsageError, match=r"give base_deployment='ITS NAME'; or name another baseline"):
        AZURE_SPEC.own_baseline()
    own = replace(AZURE_SPEC, base_deployment="mini").own_baseline()
    assert own.model_name == "mini"
    with pytest.raises(UsageError, match="no base_deployment there"):
        replace(SPEC, base_deployment="mini").require_fit(at(OPENAI))
    there = replace(AZURE_SPEC, base_deployment="mini").redirected("http://127.0.0.1:9/v1")
    assert there.own_baseline().model_name == "gpt-4.1-mini"


def test_how_answers_are_asked_for_is_passed_on_and_no_part_of_the_job() -> None:
    spec = replace(SPEC, concurrency=3, batch=True)
    baseline = spec.own_baseline()
    assert isinstance(baseline, Prompted)
    for remote in (spec.remote("ft:x"), baseline.model):
        assert isinstance(remote, RemoteModel)
        assert (remote.calls_at_once, remote.batch) == (3, True)

    def name(spec: OpenAITuning) -> str:
        return request_of(spec, rows(10)).fingerprint

    assert name(spec) == name(SPEC)
    assert replace(SPEC, concurrency=3).described() == SPEC.described()


def test_it_is_hashed_and_told_in_full() -> None:
    spec = replace(SPEC, metadata={"team": "a"}, wandb=WandB(project="p", tags=("x",)))
    assert hash(spec) == hash(replace(spec))
    assert spec.described()["metadata"] == {"team": "a"}
    assert spec.described()["kind"] == "openai"


def test_a_rehearsal_goes_to_the_twin_with_settings_that_it_takes() -> None:
    nebius = OpenAITuning(
        base="some/model",
        train="t.jsonl",
        base_url="https://api.tokenfactory.nebius.com/v1",
        api_key_env="NEBIUS_API_KEY",
        learning_rate_multiplier=1e-5,
    )
    there = nebius.redirected("http://127.0.0.1:9/v1")
    there.require_fit(there.service().capabilities)
    assert there.service().facts == replace(TWIN, stands_for="nebius")
    assert there.api_key_env == "HARNESS_REHEARSAL_KEY"


def test_weights_and_biases_is_asked_for_where_the_service_has_it() -> None:
    spec = replace(SPEC, wandb=WandB(project="p", name="n"))
    wanted = [{"type": "wandb", "wandb": {"project": "p", "name": "n"}}]
    assert spec.service().body(request_of(spec, rows(10)), "f", None)["integrations"] == wanted


def test_a_completion_model_gets_prompts_and_completions() -> None:
    spec = OpenAITuning(base="babbage-002", train="t.jsonl")
    request = request_of(spec, rows(2))
    assert (
        request.training.content.splitlines()[0] == b'{"prompt":"train question 0","completion":"answer 0"}'
    )


def test_a_row_that_a_completion_model_cannot_hold_is_named_with_its_line() -> None:
    turns = (Message("system", "s"), Message("user", "u"), Message("assistant", "a"))
    with pytest.raises(DataError, match=r"train.jsonl:4: .* the system message"):
        request_of(OpenAITuning(base="davinci-002", train="t"), (Row("r", turns, where="train.jsonl:4"),))
