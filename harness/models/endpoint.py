"""Where a hosted model is asked: an address, the name of the variable that holds its key, and clients.

The key itself is read from the environment when a client is made. It is in no field, and in no local
variable of a frame that may fail, so it reaches no repr, cache key, log, record or traceback with its locals.
A key is sent only where it belongs: ``OPENAI_API_KEY`` to OpenAI's own hosts, to this machine, and to the
address in ``OPENAI_BASE_URL``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar
from urllib.parse import quote, urlsplit

from harness.errors import ModelError, UsageError
from harness.models.hosts import host_of, is_loopback, is_openai, is_private, require_address

if TYPE_CHECKING:
    from httpx2 import AsyncClient, Client
    from openai import AsyncOpenAI, OpenAI

ClientKind: TypeAlias = Literal["openai", "azure", "compatible"]
ClientT = TypeVar("ClientT", "OpenAI", "AsyncOpenAI")

OPENAI_URL = "https://api.openai.com/v1"
OPENAI_KEY = "OPENAI_API_KEY"
NO_KEY = "no-key-needed"  # sent to a server of the team's own that asks for none: the SDK insists on a key
REDACTED = "[key]"
_KEY = re.compile(r"[!-~]+")  # visible ASCII: what an HTTP header can hold
SHORTEST_SECRET = 4  # characters; a shorter text is part of too many words to be taken out of them
# usual variables; for that of OpenAI see Endpoint.key_variable
KEY_VARIABLES: Mapping[ClientKind, str | None] = {
    "openai": None,
    "azure": "AZURE_OPENAI_API_KEY",
    "compatible": None,
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible service.

    Args:
        base_url: its address, such as ``http://127.0.0.1:8000/v1``; of Azure the resource's. None: what
            ``OPENAI_BASE_URL`` says, else OpenAI's own.
        api_key_env: the environment variable that holds the key. None: of Azure its usual one, and
            ``OPENAI_API_KEY`` for OpenAI's own hosts, for this machine, and where ``OPENAI_BASE_URL`` gives
            the address. A server of one's own (this machine, a private network) is asked without a key where
            there is none; any other must have its variable named.
        client_kind: ``"openai"``, ``"azure"``, or ``"compatible"`` for anything else that speaks the same.
        timeout_s: longest wait for one answer.
        api_version: Azure's dated interface (None: ``OPENAI_API_VERSION``); not for its ``/openai/v1``.

    Raises:
        UsageError: an address that is none, that carries a secret, or that is plain http in the internet.
    """

    base_url: str | None = None
    api_key_env: str | None = None
    client_kind: ClientKind = "openai"
    timeout_s: float = 60.0
    api_version: str | None = None

    def __post_init__(self) -> None:
        if self.client_kind not in KEY_VARIABLES:
            raise UsageError(f"client_kind={self.client_kind!r}: use one of {', '.join(KEY_VARIABLES)}.")
        if not self.timeout_s > 0:
            raise UsageError(f"timeout_s={self.timeout_s}: must be above 0.")
        if self.base_url is not None:
            require_address(self.base_url)

    @property
    def url(self) -> str:
        """The address that requests go to, and the only one: redirects are not followed."""
        given = self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
        return require_address(given).rstrip("/")

    @property
    def key_variable(self) -> str | None:
        """The environment variable that holds the key; None where no key belongs to this address."""
        variable = self.api_key_env or KEY_VARIABLES[self.client_kind]
        # OPENAI_BASE_URL is the key's pair in the SDK, too
        is_openai_s = self.base_url is None or is_openai(self.url) or self.is_local
        return variable or (OPENAI_KEY if is_openai_s else None)

    @property
    def is_local(self) -> bool:
        """Whether the server runs on this machine."""
        return is_loopback(self.url)

    def require_key(self) -> None:
        """Check that a client can be made.

        Raises:
            ModelError: there is no key, or its variable holds none; the message has the line to write.
        """
        self._key()

    def client(self) -> OpenAI:
        """The official client, for tuning jobs and batches; it retries nothing by itself.

        Raises:
            ModelError: there is no key.
        """
        from openai import AzureOpenAI, DefaultHttpxClient, OpenAI

        self.require_key()
        http = DefaultHttpxClient(follow_redirects=False, trust_env=not self.is_local, timeout=self.timeout_s)
        return self._opened(OpenAI, AzureOpenAI, http)

    def async_client(self, connections: int) -> AsyncOpenAI:
        """The official client for asyncio, with ``connections`` kept open; it retries nothing by itself.

        Raises:
            ModelError: there is no key.
        """
        from httpx2 import Limits
        from openai import AsyncAzureOpenAI, AsyncOpenAI, DefaultAsyncHttpxClient

        self.require_key()
        http = DefaultAsyncHttpxClient(
            follow_redirects=False,
            trust_env=not self.is_local,  # a proxy would be asked for 127.0.0.1
            timeout=self.timeout_s,
            limits=Limits(max_connections=connections, max_keepalive_connections=connections),
        )
        return self._opened(AsyncOpenAI, AsyncAzureOpenAI, http)

    def _opened(
        self, plain: Callable[..., ClientT], azure: Callable[..., ClientT], http: Client | AsyncClient
    ) -> ClientT:
        """The client of this address, which shows OpenAI's account to OpenAI alone.

        The SDK reads ``OPENAI_ORG_ID``, ``OPENAI_PROJECT_ID``, ``OPENAI_CUSTOM_HEADERS`` and
        ``OPENAI_ADMIN_KEY`` whatever its address is. The headers are for OpenAI and for the address beside
        them, ``OPENAI_BASE_URL``; the administrator's key is for nobody.
        """
        if self.client_kind == "azure" and "/openai/v1" not in urlsplit(self.url).path:
            version = self.api_version or os.environ.get("OPENAI_API_VERSION")
            if not version:
                raise ModelError(
                    f"{self.url}: Azure's interface has dated versions, and none is named.\n"
                    "  hint: api_version='2024-10-21', or export OPENAI_API_VERSION; or use the address that"
                    " ends in /openai/v1, which has none."
                )
            kind = partial(azure, azure_endpoint=self.url, api_version=version)
        else:
            kind = partial(plain, base_url=self.url)
        # The key is no local variable of this frame: a traceback with locals would show it. The SDK does not
        # retry: the scheduler has to see every failure, to slow down and to stop.
        client = kind(api_key=self._key(), timeout=self.timeout_s, max_retries=0, http_client=http)
        client.admin_api_key = None
        if self.client_kind != "openai":
            client.organization = client.project = None
            if self.base_url is not None:
                client._custom_headers = {}
        return client

    def scrub(self, text: str) -> str:
        """``text`` without the key, as it is, escaped or quoted: some services repeat it in their errors."""
        key = os.environ.get(self.key_variable or "", "").strip()
        forms: set[str] = set()
        for secret in (key, *key.split()):
            if len(secret) >= SHORTEST_SECRET:
                escaped = (repr(secret)[1:-1], json.dumps(secret)[1:-1], ascii(secret)[1:-1])
                forms |= {secret, *escaped, quote(secret), quote(secret, safe="")}
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, REDACTED)
        return text

    def _key(self) -> str:
        variable = self.key_variable
        if self._is_garbled:  # the client would refuse it, and quote it
            raise ModelError(
                f"the environment variable {variable} holds characters that no key has: a space, a line"
                " end, a quotation mark or dash of a word processor.\n"
                f"  hint: export {variable}=… again, copied from where the service shows it, in one line."
            )
        key = os.environ.get(variable or "", "").strip()
        if key:
            return key
        if self.is_local or (self.api_key_env is None and is_private(self.url)):
            return NO_KEY
        if variable is not None:
            raise ModelError(
                f"{self.url} needs a key, and the environment variable {variable} is not set.\n"
                f"  hint: export {variable}=… in the shell that runs pytest; or name another variable by"
                " api_key_env."
            )
        labels = [label for label in host_of(self.url).split(".") if label[:1].isalpha()]
        owner = labels[-2] if len(labels) > 1 else "server"
        name = owner.upper().replace("-", "_") + "_API_KEY"
        raise ModelError(
            f"{self.url} needs a key, and api_key_env does not name its variable. {OPENAI_KEY} is sent to"
            " OpenAI's own hosts and to this machine only.\n"
            f'  hint: write api_key_env="{name}" beside base_url (harness jobs: --api-key-env={name}),'
            f" and export {name}=…"
        )

    @property
    def _is_garbled(self) -> bool:
        # apart from _key: there the broken key would be a local variable of the frame that raises
        key = os.environ.get(self.key_variable or "", "").strip()
        return bool(key) and not _KEY.fullmatch(key)
