"""Addresses and keys of hosted models."""

from __future__ import annotations

import os
from traceback import walk_tb

import pytest

from harness.errors import ModelError, UsageError
from harness.models.endpoint import Endpoint

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
        Endpoint("https://x.openai.azure.com", profile="azure").require_key()


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
    dated = Endpoint("https://x.openai.azure.com", profile="azure")
    with pytest.raises(ModelError, match="OPENAI_API_VERSION"):
        dated.client()
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    with dated.client() as client:
        assert isinstance(client, AzureOpenAI)
        assert str(client.base_url).startswith("https://x.openai.azure.com/")
    with Endpoint("https://x.openai.azure.com/openai/v1", profile="azure").client() as client:
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
    endpoint = Endpoint("https://api.example/v1")
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
