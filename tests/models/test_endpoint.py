"""Addresses and keys of hosted models."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from traceback import walk_tb
from typing import Any

import pytest
from starlette.responses import Response
from stub_service import Service, serving

from harness.errors import ModelError, UsageError
from harness.models.endpoint import ClientKind, Endpoint, is_private
from harness.models.remote import RemoteModel
from harness.models.remote_wire import failure_of

LOCAL = "http://127.0.0.1:9/v1"


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "AZURE_OPENAI_", "HTTP_PROXY", "http_proxy")):
            monkeypatch.delenv(name)


def test_a_missing_key_names_its_variable() -> None:
    with pytest.raises(ModelError, match="export OPENAI_API_KEY"):
        Endpoint().client()
    with pytest.raises(ModelError, match="export MY_KEY"):
        Endpoint("https://models.example/v1", "MY_KEY").require_key()
    with pytest.raises(ModelError, match="AZURE_OPENAI_API_KEY"):
        Endpoint("https://x.openai.azure.com", client_kind="azure").require_key()


@pytest.mark.parametrize("url", [LOCAL, "http://localhost:11434/v1", "http://[::1]:8000/v1"])
def test_a_server_on_this_machine_needs_no_key(url: str) -> None:
    with Endpoint(url).client() as client:
        assert client.api_key == "no-key-needed"
        assert client.max_retries == 0


def test_the_sdk_s_own_variable_for_the_address_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1234/v1/")
    assert Endpoint().url == "http://localhost:1234/v1"
    assert Endpoint().is_local
    assert Endpoint("https://api.example/v1").url == "https://api.example/v1"


def test_azure_is_asked_by_its_own_client(monkeypatch: pytest.MonkeyPatch) -> None:
    from openai import AzureOpenAI, OpenAI

    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k1234")
    dated = Endpoint("https://x.openai.azure.com", client_kind="azure")
    with pytest.raises(ModelError, match="OPENAI_API_VERSION"):
        dated.client()
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    with dated.client() as client:
        assert isinstance(client, AzureOpenAI)
        assert str(client.base_url).startswith("https://x.openai.azure.com/")
    with Endpoint("https://x.openai.azure.com/openai/v1", client_kind="azure").client() as client:
        assert type(client) is OpenAI


@pytest.mark.parametrize(
    "url", ["", "api.example/v1", "ftp://api.example", "https://", "http://host:port/v1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="base_url is no address"):
        Endpoint(url)


@pytest.mark.parametrize("url", ["https://me:hunter2@api.example/v1", "https://api.example/v1?key=hunter2"])
def test_an_address_with_a_secret_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(UsageError, match="environment variable") as caught:
        Endpoint(url)
    assert "hunter2" not in str(caught.value)


# --------------------------------------------------------------------------- whose key goes where
@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that the SDK reads from the environment of somebody who uses OpenAI, too."""
    for name, value in (
        ("OPENAI_API_KEY", "sk-openai-own"),
        ("OPENAI_ORG_ID", "org-mine"),
        ("OPENAI_PROJECT_ID", "proj-mine"),
        ("OPENAI_ADMIN_KEY", "sk-admin-mine"),
        ("OPENAI_CUSTOM_HEADERS", "X-Gateway: pass-mine"),
    ):
        monkeypatch.setenv(name, value)


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(Service()) as running:
        yield running


@pytest.mark.parametrize(
    ("url", "variable"),
    [
        ("https://api.together.xyz/v1", "TOGETHER_API_KEY"),
        ("https://api.tokenfactory.nebius.com/v1", "NEBIUS_API_KEY"),
        ("https://openai.com.evil.example/v1", "EVIL_API_KEY"),
        ("https://api.openai.com.evil.example/v1", "EVIL_API_KEY"),
        ("https://notapi.openai.com.example/v1", "COM_API_KEY"),
        ("https://93.184.216.34/v1", "SERVER_API_KEY"),
    ],
)
@pytest.mark.usefixtures("account")
def test_openai_s_key_goes_to_nobody_else(url: str, variable: str) -> None:
    with pytest.raises(ModelError, match=f"(?s){variable}.*export {variable}=") as caught:
        RemoteModel("m", base_url=url).open()
    assert "sk-openai" not in str(caught.value)


@pytest.mark.usefixtures("account")
def test_a_key_that_is_named_goes_where_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEBIUS_API_KEY", "nb-own")
    nebius = RemoteModel("m", base_url="https://api.tokenfactory.nebius.com/v1").endpoint
    with nebius.client() as client:
        assert client.api_key == "nb-own"
    gateway = RemoteModel("m", base_url="https://gateway.example/v1", api_key_env="OPENAI_API_KEY").endpoint
    with gateway.client() as client:
        assert client.api_key == "sk-openai-own", "whoever names it means it"


@pytest.mark.parametrize("url", [None, "https://api.openai.com/v1", "https://eu.api.openai.com/v1", LOCAL])
@pytest.mark.usefixtures("account")
def test_openai_s_key_goes_to_openai_and_this_machine(url: str | None) -> None:
    with Endpoint(url).client() as client:
        assert client.api_key == "sk-openai-own"


@pytest.mark.usefixtures("account")
def test_openai_s_key_goes_to_the_address_that_stands_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://gateway.example/v1")
    with RemoteModel("m").endpoint.client() as client:
        assert client.api_key == "sk-openai-own"
    with pytest.raises(ModelError, match="api_key_env"):
        RemoteModel("m", base_url="https://gateway.example/v1").open()


@pytest.mark.parametrize("url", ["http://10.0.0.5:8000/v1", "http://vllm:8000/v1", "https://gpu.internal/v1"])
@pytest.mark.usefixtures("account")
def test_a_server_of_one_s_own_is_asked_without_a_key(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with RemoteModel("m", base_url=url).endpoint.client() as client:
        assert client.api_key == "no-key-needed"
    with pytest.raises(ModelError, match="MINE is not set"):
        RemoteModel("m", base_url=url, api_key_env="MINE").open()


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("profile", ["openai", "compatible", "azure"])
def test_only_openai_is_told_whose_account_pays_and_nobody_has_the_administrators_key(
    service: Service, profile: ClientKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    monkeypatch.setenv("K", "k-own")
    endpoint = Endpoint(service.base_url, "K", profile)
    with endpoint.client() as client:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "q"}])
        assert client.admin_api_key is None
    (sent,) = service.headers
    told = {sent.get("openai-organization"), sent.get("openai-project")}
    assert told == ({"org-mine", "proj-mine"} if profile == "openai" else {None})
    assert "sk-admin-mine" not in repr(sent)
    assert sent.get("x-gateway") == ("pass-mine" if profile == "openai" else None)
    assert "k-own" in repr(sent)


@pytest.mark.parametrize(
    "url",
    ["http://some-host.example/v1", "http://8.8.8.8/v1", "http://134744072/v1", "http://[::ffff:8.8.8.8]/v1"],
)
def test_plain_http_in_the_internet_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="not encrypted"):
        Endpoint(url)


PRIVATE = [
    *("127.0.0.1", "[::1]", "localhost", "a.localhost"),
    *("172.16.3.4", "192.168.1.9", "169.254.1.1", "[fe80::1]", "[fd00::1]"),
    *("nas.local", "local", "db-1", "3090box"),
]
PUBLIC = ["172.32.0.1", "internal.example", "0x7f000001", "2130706433", "127.1"]


def test_networks_of_one_s_own_are_told_by_their_names() -> None:
    assert [host for host in PRIVATE + PUBLIC if is_private(f"http://{host}:8000/v1")] == PRIVATE


@pytest.mark.parametrize("profile", ["openai", "azure"])
@pytest.mark.parametrize("status", [302, 307])  # the one turns a POST into a GET, the other repeats it
def test_no_client_follows_a_redirect_with_the_key(
    service: Service, profile: ClientKind, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The synchronous client is that of tuning jobs and batches; ``azure`` has classes of its own."""
    from openai import APIStatusError

    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    monkeypatch.setenv("K", "k-own")
    endpoint = Endpoint(service.base_url, "K", profile)
    asked: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "q"}]}

    async def ask_async() -> None:
        async with endpoint.async_client(1) as client:
            await client.chat.completions.create(**asked)

    with serving(Service()) as elsewhere:
        away = Response(status_code=status, headers={"location": f"{elsewhere.base_url}/chat/completions"})
        service.script = lambda body, number: away
        with endpoint.client() as client, pytest.raises(APIStatusError) as caught:
            client.chat.completions.create(**asked)
        assert caught.value.status_code == status
        with pytest.raises(APIStatusError):
            asyncio.run(ask_async())
        assert elsewhere.headers == []
    assert len(service.headers) == 2


# --------------------------------------------------------------------------- what no text may hold
@pytest.mark.parametrize(
    "key", ["sk-PLANTED1\nPLANTED2", "sk-PLANTED”", "sk-PLÄNTED", "Bearer sk-PLANTED", "sk-PLANTED\x07"]
)
def test_what_cannot_be_a_key_is_refused_without_being_shown_or_sent(
    key: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K", key)
    with pytest.raises(ModelError, match="variable K holds characters that no key has") as caught:
        RemoteModel("m", base_url=service.base_url, api_key_env="K").open()
    with pytest.raises(ModelError, match="variable K holds characters that no key has"):
        Endpoint(service.base_url, "K").client()
    assert "PL" not in str(caught.value)
    assert service.headers == []


def test_space_around_a_key_is_not_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K", " sk-PLANTED\n")
    with Endpoint(LOCAL, "K").client() as client:
        assert client.api_key == "sk-PLANTED"


def test_what_a_protocol_s_error_quotes_reaches_no_reason() -> None:
    from httpx2 import LocalProtocolError, Request
    from openai import APIConnectionError

    error = APIConnectionError(request=Request("POST", LOCAL))
    error.__cause__ = LocalProtocolError("Illegal header value b'Bearer sk-PLANTED\\nsecond'")
    failure = failure_of(error, lambda text: text)
    assert failure.reason == "no connection: LocalProtocolError"


ODD_KEY = "sk+a/b'c\\d\"e"


@pytest.mark.parametrize(
    "told", [ODD_KEY, repr(ODD_KEY), repr(ODD_KEY.encode()), "sk%2Ba%2Fb%27c%5Cd%22e", "sk%2Ba/b%27c%5Cd%22e"]
)
def test_a_key_is_taken_out_in_every_form_that_errors_write_it_in(
    told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", ODD_KEY)
    scrubbed = Endpoint().scrub(f"wrong key {told}!")
    assert scrubbed.startswith("wrong key ")
    assert "[key]" in scrubbed
    assert "sk" not in scrubbed


def test_a_key_that_an_error_quotes_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1")
    assert Endpoint().scrub("wrong key sk-secret-1!") == "wrong key [key]!"
    assert "sk-secret-1" not in repr(Endpoint())


@pytest.mark.parametrize("key", ["sk–7f3a9c", "sk-7f3a\n9c", "sk-7f3a 9c", "“sk-7f3a9c”"])
def test_what_cannot_be_a_key_is_refused_before_a_client_quotes_it(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ModelError, match="OPENAI_API_KEY holds characters that no key has") as caught:
        Endpoint(LOCAL).client()
    assert not [found for found in locals_of(caught.value) if "7f3a" in found]
    monkeypatch.setenv("OPENAI_API_KEY", "  sk-7f3a9c\n")
    with Endpoint(LOCAL).client() as client:
        assert client.api_key == "sk-7f3a9c", "white space around it is nobody's key"


def test_a_client_that_cannot_be_made_shows_no_key_among_the_locals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-7f3a9c")
    monkeypatch.setenv("HTTPS_PROXY", "no-such-scheme://here")
    endpoint = Endpoint("https://api.openai.com/v1")
    for make in (endpoint.client, lambda: endpoint.async_client(2)):
        with pytest.raises(ValueError, match="scheme") as caught:
            make()
        assert not [found for found in locals_of(caught.value) if "7f3a" in found]


def locals_of(error: BaseException) -> list[str]:
    """What a traceback with its locals would show of the frames below the test's own."""
    assert error.__traceback__ is not None
    found = [item for frame, _ in walk_tb(error.__traceback__.tb_next) for item in frame.f_locals.items()]
    plain = (str, bytes, dict, list, tuple, BaseException)  # others may have no repr while they are made
    return [f"{name} = {value!r}" for name, value in found if isinstance(value, plain)]
