"""The stand-in of Tinker's wire, asked by Tinker's SDK: what it says, refuses and survives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import tinker
from openai import OpenAI
from tinker import types
from tinker.proto import tinker_public_pb2 as pb
from tinker.proto.request_conv import forward_backward_request_to_proto

from harness.testing.fake_openai import add_aliases, running_fake_openai, twin_stats
from harness.testing.fake_tinker import TinkerFaults, running_fake_tinker
from harness.testing.fake_tinker.app import FakeTinker
from harness.testing.fake_tinker.scripted_backend import ScriptedTinker

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.usefixtures("forgets_connections"),
]
BASE, KEY = "smollm2-135m", "tml-of-tests"
ADAM = types.AdamParams(learning_rate=1e-3)
TOKENS = list(range(100, 120))


def datum(tokens: list[int], prompt: int = 5) -> types.Datum:
    weights = [0.0] * (prompt - 1) + [1.0] * (len(tokens) - prompt)
    return types.Datum(
        model_input=types.ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={
            "target_tokens": types.TensorData(tokens[1:], "int64"),
            "weights": types.TensorData(weights, "float32"),
        },
    )


@pytest.fixture(scope="module")
def shared(forgets_connections: None) -> Iterator[FakeTinker]:
    with running_fake_tinker(backend=ScriptedTinker(lambda q: f"{bool(q.weights)} {q.last}")) as running:
        yield running
        # the SDK keeps it, with its connections, for the life of the process
        holder = tinker.RestClient(base_url=running.url, api_key=KEY).holder
        holder.run_coroutine_threadsafe(holder.aclose()).result()


@pytest.fixture
def service(shared: FakeTinker) -> FakeTinker:
    shared.app.switch(TinkerFaults())
    shared.requests.clear()
    return shared


@contextmanager
def client_of(url: str, **metadata: str) -> Iterator[tinker.ServiceClient]:
    with tinker.ServiceClient(base_url=url, api_key=KEY, user_metadata=metadata) as client:
        yield client


@pytest.fixture(scope="module")
def client(shared: FakeTinker) -> Iterator[tinker.ServiceClient]:
    with client_of(shared.url) as made:
        yield made


def train(client: tinker.ServiceClient, steps: int) -> tinker.TrainingClient:
    run = client.create_lora_training_client(BASE, rank=4, seed=1).result()
    for _ in range(steps):
        passed, stepped = run.forward_backward([datum(TOKENS)], "cross_entropy"), run.optim_step(ADAM)
        passed.result(), stepped.result()
    return run


def loss(run: tinker.TrainingClient) -> float:
    return run.forward([datum(TOKENS)], "cross_entropy").result().metrics["loss:sum"]


@pytest.mark.filterwarnings("ignore:RestClient.search_sessions is experimental")
def test_the_sdk_trains_saves_goes_on_samples_and_finds_it_again(service: FakeTinker) -> None:
    rest = tinker.RestClient(base_url=service.url, api_key=KEY)
    (offered,) = rest.get_server_capabilities().result().supported_models
    assert (offered.model_name, offered.trainable) == (BASE, True)
    before = service.billed_tokens
    with client_of(service.url, fingerprint="one") as client:
        run = train(client, 2)
        assert loss(run) == pytest.approx(15 * 2 / 3)  # 15 weighted tokens
        state = run.save_state("step-2").result().path
        sampler = run.save_weights_for_sampler("step-2", user_metadata={"step": "2"}).result().path
        run.forward_backward([datum(TOKENS)], "cross_entropy").result()
        run.optim_step(ADAM).result()
        again = client.create_training_client_from_state_with_optimizer(state).result()
        assert [loss(run), loss(again)] == pytest.approx([7.5, 10])
        prompt = types.ModelInput.from_ints(TOKENS)
        drawn = client.create_sampling_client(model_path=sampler).result()
        params = types.SamplingParams(max_tokens=3, temperature=0.0)
        found = drawn.sample(prompt, 2, params).result()
        assert [one.tokens for one in found.sequences] == [[119] * 3] * 2
        assert drawn.compute_logprobs(prompt).result()[:2] == [None, pytest.approx(-2 / 3)]
        now = run.save_weights_and_get_sampling_client().result()
        assert now.compute_logprobs(prompt).result()[1] == pytest.approx(-0.5)
        searched = rest.search_sessions(types.SessionSearchRequest(user_metadata={"fingerprint": "one"}))
        (session,) = searched.result().sessions
        assert session.checkpoints_count == 3
        assert again.model_id in rest.get_session(session.session_id).result().training_run_ids
        listed = {one.tinker_path: one for one in rest.list_checkpoints(run.model_id).result().checkpoints}
        assert listed.keys() >= {state, sampler}
        assert listed[sampler].user_metadata == {"step": "2"}
        assert rest.get_weights_info_by_tinker_path(state).result().lora_rank == 4
        assert rest.get_training_run(run.model_id).result().last_checkpoint == listed[state]
    spent = {kind: n - before[kind] for kind, n in service.billed_tokens.items()}
    # three steps and three passes over 19 tokens; samples of 20 with 3 times 2 drawn, scores with 1 each
    assert spent == {"training": 6 * 19, "sampling_prefill": 3 * 20, "sampling_sample": 8}


def test_a_checkpoint_chats_at_the_openai_address_and_other_kinds_do_not(
    service: FakeTinker, client: tinker.ServiceClient
) -> None:
    run = train(client, 1)
    state, tuned = run.save_state("a").result().path, run.save_weights_for_sampler("a").result().path
    openai = OpenAI(base_url=f"{service.url}/oai/api/v1", api_key=KEY, max_retries=0)
    said = {}
    for model in (BASE, tuned, f"{BASE};{tuned}"):
        reply = openai.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello"}])
        said[reply.model] = reply.choices[0].message.content
    assert said == {BASE: "False hello", tuned: "True hello", f"{BASE};{tuned}": "True hello"}
    for model in (state, "tinker://nobody/sampler_weights/a", "nobody"):
        answer = httpx2.post(
            f"{service.url}/oai/api/v1/chat/completions",
            json={"model": model, "messages": [{"role": "user", "content": "hello"}]},
            headers={"authorization": f"Bearer {KEY}"},
        )
        assert answer.status_code in (400, 404), model


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("create_session", {"tags": [], "user_metadata": None, "sdk_version": "0", "shape": 1}, "shape"),
        ("get_info", {"model_id": "m", "more": {}}, "more"),
        (
            "asample",
            {"prompt": {"chunks": []}, "sampling_params": {"max_tokens": 1, "min_p": 0.1}},
            "sampling_params.min_p",
        ),
        ("weights_info", {"tinker_path": "tinker://a/weights/b", "token": ""}, "token"),
        ("optim_step", {"model_id": "m", "seq_id": 1, "adam_params": {"lr": 1}}, "lr"),
    ],
)
def test_fields_that_the_sdk_does_not_have_are_refused(
    service: FakeTinker, path: str, body: dict[str, object], place: str
) -> None:
    answer = httpx2.post(f"{service.url}/api/v1/{path}", json=body, headers={"x-api-key": KEY})
    assert answer.status_code == 422
    assert place in answer.text


def test_requests_without_key_or_of_unknown_runs_and_malformed_passes_are_refused(
    service: FakeTinker,
) -> None:
    proto = {"content-type": "application/x-protobuf"}
    given = types.ForwardBackwardInput(data=[datum(TOKENS)], loss_fn="cross_entropy", loss_fn_config=None)
    asked = types.ForwardBackwardRequest(forward_backward_input=given, model_id="nobody", seq_id=1)
    body = forward_backward_request_to_proto(asked).SerializeToString()

    def post(path: str, content: bytes, headers: dict[str, str]) -> int:
        return httpx2.post(f"{service.url}/api/v1/{path}", content=content, headers=headers).status_code

    key = {"x-api-key": KEY}
    assert post("get_info", b'{"model_id": "m"}', {}) == 401
    assert post("get_info", b'{"model_id": "m"}', key) == 404
    assert post("get_info", b"{", key) == 400
    assert post("forward_backward", body, {**key, **proto}) == 404
    assert post("forward_backward", body, key) == 415
    assert post("forward_backward", b"\xff" + body, {**key, **proto}) == 422
    assert post("forward_backward", body + b"\xf8\x3f\x01", {**key, **proto}) == 422  # a field 127
    assert post("no_such_path", b"{}", key) == 404


def test_data_that_cannot_be_trained_on_fail_as_the_users_and_are_not_billed(
    service: FakeTinker, client: tinker.ServiceClient
) -> None:
    changes: list[tuple[dict[str, list[int] | list[float] | None], str]] = [
        ({"weights": None}, "takes target_tokens and weights"),
        ({"advantages": [1.0] * 19}, "takes target_tokens and weights"),
        ({"weights": [1.0] * 18}, "18 weights"),
        ({"weights": [float("nan")] * 19}, "finite"),
        ({"target_tokens": [49_152] * 19}, "vocabulary"),
        ({"target_tokens": [-1] * 19}, "vocabulary"),
    ]
    before = service.billed_tokens
    run = train(client, 0)
    for change, said in changes:
        inputs: dict[str, list[int] | list[float] | None] = {"weights": [1.0] * 19}
        inputs |= {"target_tokens": list(TOKENS[1:]), **change}
        bad = types.Datum(
            model_input=types.ModelInput.from_ints(TOKENS[:-1]),
            loss_fn_inputs={
                name: types.TensorData(value, "int64" if name == "target_tokens" else "float32")
                for name, value in inputs.items()
                if value is not None
            },
        )
        with pytest.raises(tinker.RequestFailedError, match=said) as failure:
            run.forward_backward([bad], "cross_entropy").result()
        assert failure.value.category is types.RequestErrorCategory.User
    assert loss(run) == pytest.approx(30)  # and the run goes on
    assert service.billed_tokens["training"] - before["training"] == 19


@pytest.mark.parametrize(
    "faults",
    [
        TinkerFaults(path="forward_backward", at={1: "drop after"}),
        TinkerFaults(path="optim_step", at={1: "drop before", 2: (503, {"detail": "busy"}, 0.01)}),
        TinkerFaults(path="retrieve_future", at={2: (500, {}, None), 3: "drop after"}),
        TinkerFaults(polls=2, extra=True),
    ],
)
def test_faults_on_the_way_train_and_bill_each_step_once(
    service: FakeTinker, client: tinker.ServiceClient, faults: TinkerFaults
) -> None:
    before = service.billed_tokens
    service.app.switch(faults)
    run = train(client, 2)
    assert loss(run) == pytest.approx(10)
    assert service.billed_tokens["training"] - before["training"] == 3 * 19


def test_a_refused_request_reaches_the_caller(service: FakeTinker, client: tinker.ServiceClient) -> None:
    service.app.switch(TinkerFaults(path="create_model", at={1: (403, {"detail": "not for you"}, None)}))
    with pytest.raises(tinker.PermissionDeniedError, match="not for you"):
        train(client, 0)


def test_a_restarted_service_goes_on_where_it_was(tmp_path: Path) -> None:
    with running_fake_tinker(tmp_path) as first, client_of(first.url) as client:
        run = train(client, 2)
        tuned = run.save_weights_for_sampler("a").result().path
        run.forward_backward([datum(TOKENS)], "cross_entropy").result()
        port, spent = int(first.url.rpartition(":")[2]), first.billed_tokens
    with running_fake_tinker(tmp_path, port) as second, client_of(second.url) as client:
        assert second.billed_tokens == spent
        assert client.create_sampling_client(model_path=tuned).result().get_base_model() == BASE
        post = {"x-api-key": KEY}
        number = run._request_id_counter + 1  # the session has ended for the client, not for the run
        body = {"model_id": run.model_id, "seq_id": number, "adam_params": {}}
        answer = httpx2.post(f"{second.url}/api/v1/optim_step", json=body, headers=post)
        assert answer.status_code == 410


def test_a_killed_service_replays_what_its_runs_did(tmp_path: Path) -> None:
    """The client lives on: it knows nothing of it but a connection that broke."""
    with running_fake_tinker(tmp_path) as first:
        client = tinker.ServiceClient(base_url=first.url, api_key=KEY)
        run = train(client, 2)
        run.forward_backward([datum(TOKENS)], "cross_entropy").result()
        port, spent = int(first.url.rpartition(":")[2]), first.billed_tokens["training"]
    with running_fake_tinker(tmp_path, port) as second:
        run.optim_step(ADAM).result()  # of the gradients from before
        assert loss(run) == pytest.approx(7.5)
        assert second.billed_tokens["training"] == spent + 19
        client.close("success").result()


def test_requests_are_done_in_the_order_of_their_numbers(
    service: FakeTinker, client: tinker.ServiceClient
) -> None:
    run = train(client, 0)
    headers = {"x-api-key": KEY}

    def passed(number: int) -> str:
        given = types.ForwardBackwardInput(data=[datum(TOKENS)], loss_fn="cross_entropy")
        asked = types.ForwardBackwardRequest(
            forward_backward_input=given, model_id=run.model_id, seq_id=number
        )
        proto = {**headers, "content-type": "application/x-protobuf"}
        body = forward_backward_request_to_proto(asked).SerializeToString()
        at = f"{service.url}/api/v1/forward_backward"
        return str(httpx2.post(at, content=body, headers=proto).json()["request_id"])

    late, step = passed(3), {"model_id": run.model_id, "seq_id": 2, "adam_params": {}}
    at = f"{service.url}/api/v1/optim_step"
    assert httpx2.post(at, json=step, headers=headers).status_code == 200
    first = passed(1)
    assert passed(3) == late  # sent again
    other = {**step, "adam_params": {"learning_rate": 1.0}}
    assert httpx2.post(at, json=other, headers=headers).status_code == 409
    losses = []
    for name in (first, late):
        answer = httpx2.post(
            f"{service.url}/api/v1/retrieve_future",
            json={"request_id": name},
            headers={**headers, "accept": "application/x-protobuf"},
        )
        losses.append(pb.ForwardBackwardOutput.FromString(answer.content).metrics["loss:sum"])
    assert losses == [pytest.approx(30), pytest.approx(15)]


def test_a_name_that_is_there_is_overwritten_only_on_request_and_a_deleted_one_is_gone(
    service: FakeTinker,
    client: tinker.ServiceClient,
) -> None:
    rest = tinker.RestClient(base_url=service.url, api_key=KEY)
    run = train(client, 1)
    path = run.save_state("a", ttl_seconds=3600).result().path
    with pytest.raises(tinker.RequestFailedError, match="overwrite"):
        run.save_state("a").result()
    assert run.save_state("a", overwrite=True).result().path == path
    rest.set_checkpoint_ttl_from_tinker_path(path, 7200).result()
    (shown,) = rest.list_checkpoints(run.model_id).result().checkpoints
    assert (shown.expires_at or shown.time) > shown.time
    rest.delete_checkpoint_from_tinker_path(path).result()
    with pytest.raises(tinker.NotFoundError):
        rest.get_weights_info_by_tinker_path(path).result()


def test_exported_weights_are_downloaded_by_their_signed_addresses(
    service: FakeTinker, client: tinker.ServiceClient
) -> None:
    rest = tinker.RestClient(base_url=service.url, api_key=KEY)
    path = train(client, 3).save_weights_external("out").result().path
    urls = rest.get_external_weights_urls(path).result().urls
    assert {name: httpx2.get(url).text for name, url in urls.items()} == {"steps.json": "3"}


def test_the_hours_of_the_bill_add_up(service: FakeTinker) -> None:
    from datetime import UTC, datetime, timedelta

    with client_of(service.url, who="me") as client:
        run = train(client, 2)
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    admin = tinker.AdminClient(base_url=service.url, api_key=KEY)
    told = admin.get_billing_usage(hour - timedelta(hours=1), hour + timedelta(hours=1)).result()
    own = [event for event in told.data if event.session_id == run.model_id.partition(":")[0]]
    assert [event.event_info.token_count for event in own if event.event_info.type == "training"] == [38]
    assert told.sessions[own[0].session_id or ""].user_metadata == {"who": "me"}


@pytest.mark.slow
def test_a_rehearsal_without_a_model_learns_its_rows_by_heart() -> None:
    """Through the built-in model's own tokens and template, as a candidate sends them."""
    from harness.models.chat_format import load_chat
    from harness.models.progress import Silent
    from harness.models.source import BUILTIN, resolve
    from harness.records import Message, Row
    from harness.training.local.tokens import encode_rows

    chat = load_chat(resolve(BUILTIN, Silent()), None)
    turns = ("system", "Answer."), ("user", "Where is\norder 7?"), ("assistant", "In Riga.")
    row = Row("row", tuple(Message(role, text) for role, text in turns))
    (example,) = encode_rows(chat, [row], 512)
    learnt = types.Datum(
        model_input=types.ModelInput.from_ints(example.input_ids[:-1]),
        loss_fn_inputs={
            "target_tokens": types.TensorData(example.input_ids[1:], "int64"),
            "weights": types.TensorData([float(label >= 0) for label in example.labels[1:]], "float32"),
        },
    )
    with running_fake_openai() as url, client_of(url) as client:
        run = client.create_lora_training_client(BASE, rank=4).result()
        run.forward_backward([learnt], "cross_entropy").result()
        tuned = run.save_weights_for_sampler("a").result().path
        openai = OpenAI(base_url=f"{url}/oai/api/v1", api_key=KEY, max_retries=0)
        asked = openai.chat.completions.create(
            model=tuned, messages=[{"role": "user", "content": "Where is\norder 7?"}]
        )
        assert asked.choices[0].message.content == "In Riga."


def test_the_twin_of_openai_speaks_it_too_below_its_own_address() -> None:
    with running_fake_openai() as url:
        add_aliases(url, ["Qwen/Qwen3-8B"])
        with client_of(url) as client:
            run = client.create_lora_training_client("Qwen/Qwen3-8B", rank=4).result()
            tuned = run.save_weights_for_sampler("a").result().path
        for at, model in ((f"{url}/oai/api/v1", tuned), (url, BASE)):
            openai = OpenAI(base_url=at, api_key=KEY, max_retries=0)
            reply = openai.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}])
            assert reply.choices[0].message.content == "hi"
        assert twin_stats(url)["tinker_tokens"] == {
            "training": 0,
            "sampling_prefill": 2,
            "sampling_sample": 1,
        }
