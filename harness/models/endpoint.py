"""Where a hosted model is asked: an address, the name of the variable that holds its key, and clients.

The key itself is read from the environment when a client is made. It stands in no field and no local
variable of what may fail, so it reaches no repr, cache key, log, record or traceback with its locals.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import urlsplit

from harness.errors import ModelError, UsageError

if TYPE_CHECKING:
    from httpx2 import AsyncClient, Client
    from openai import AsyncOpenAI, OpenAI

Profile: TypeAlias = Literal["openai", "azure", "compatible"]

OPENAI_URL = "https://api.openai.com/v1"
NO_KEY = "no-key-needed"  # what a server on this machine is sent where it asks for none
REDACTED = "[key]"
_KEY = re.compile(r"[!-~]+")  # visible ASCII: what an HTTP header can hold
KEY_VARIABLES: Mapping[Profile, str] = {
    "openai": "OPENAI_API_KEY",
    "azure": "AZURE_OPENAI_API_KEY",
    "compatible": "OPENAI_API_KEY",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible service.

    Args:
        base_url: its address, such as ``http://127.0.0.1:8000/v1``; of Azure the resource's. None: what
            ``OPENAI_BASE_URL`` says, else OpenAI's own.
        api_key_env: the environment variable that holds the key (None: the profile's usual one). A server on
            this machine is asked without one where the variable is not set.
        profile: ``"openai"``, ``"azure"``, or ``"compatible"`` for anything else that speaks the same.
        timeout_s: longest wait for one answer.
        api_version: Azure's dated interface (None: ``OPENAI_API_VERSION``); not for its ``/openai/v1``.

    Raises:
        UsageError: an address that is none, or that carries a secret.
    """

    base_url: str | None = None
    api_key_env: str | None = None
    profile: Profile = "openai"
    timeout_s: float = 60.0
    api_version: str | None = None

    def __post_init__(self) -> None:
        if self.profile not in KEY_VARIABLES:
            raise UsageError(f"profile={self.profile!r}: use one of {', '.join(KEY_VARIABLES)}.")
        if not self.timeout_s > 0:
            raise UsageError(f"timeout_s={self.timeout_s}: must be above 0.")
        if self.base_url is not None:
            _require_plain(self.base_url)

    @property
    def url(self) -> str:
        """The address that requests go to, and the only one: redirects are not followed."""
        given = self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
        return _require_plain(given).rstrip("/")

    @property
    def key_variable(self) -> str:
        """The environment variable that holds the key."""
        return self.api_key_env or KEY_VARIABLES[self.profile]

    @property
    def is_local(self) -> bool:
        """Whether the server runs on this machine."""
        host = urlsplit(self.url).hostname or ""
        if host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def require_key(self) -> None:
        """See that a client can be made.

        Raises:
            ModelError: the variable of the key is not set, or holds what no key does; it says which.
        """
        self._key()

    def client(self) -> OpenAI:
        """The official client, which retries nothing by itself.

        Raises:
            ModelError: there is no key.
        """
        from openai import AzureOpenAI, DefaultHttpxClient, OpenAI

        self.require_key()
        http: Client = DefaultHttpxClient(
            follow_redirects=False, trust_env=not self.is_local, timeout=self.timeout_s
        )
        if self._is_dated_azure:
            return AzureOpenAI(
                azure_endpoint=self.url,
                api_version=self._api_version(),
                api_key=self._key(),
                timeout=self.timeout_s,
                max_retries=0,
                http_client=http,
            )
        return OpenAI(
            base_url=self.url, api_key=self._key(), timeout=self.timeout_s, max_retries=0, http_client=http
        )

    def async_client(self, connections: int) -> AsyncOpenAI:
        """The official client for asyncio, with ``connections`` kept open; it retries nothing by itself.

        Raises:
            ModelError: there is no key.
        """
        from httpx2 import Limits
        from openai import AsyncAzureOpenAI, AsyncOpenAI, DefaultAsyncHttpxClient

        self.require_key()
        http: AsyncClient = DefaultAsyncHttpxClient(
            follow_redirects=False,
            trust_env=not self.is_local,  # a proxy would be asked for 127.0.0.1
            timeout=self.timeout_s,
            limits=Limits(max_connections=connections, max_keepalive_connections=connections),
        )
        if self._is_dated_azure:
            return AsyncAzureOpenAI(
                azure_endpoint=self.url,
                api_version=self._api_version(),
                api_key=self._key(),
                timeout=self.timeout_s,
                max_retries=0,
                http_client=http,
            )
        return AsyncOpenAI(
            base_url=self.url, api_key=self._key(), timeout=self.timeout_s, max_retries=0, http_client=http
        )

    def scrub(self, text: str) -> str:
        """``text`` without the key: some services quote it in their errors."""
        key = os.environ.get(self.key_variable, "").strip()
        return text.replace(key, REDACTED) if len(key) >= 4 else text

    @property
    def _is_dated_azure(self) -> bool:
        return self.profile == "azure" and "/openai/v1" not in urlsplit(self.url).path

    @property
    def _is_garbled(self) -> bool:
        key = os.environ.get(self.key_variable, "").strip()
        return bool(key) and not _KEY.fullmatch(key)

    def _key(self) -> str:
        if self._is_garbled:  # the client would refuse it, and quote it
            raise ModelError(
                f"the environment variable {self.key_variable} holds characters that no key has: a space, a"
                " line end, a quotation mark or dash of a word processor.\n"
                f"  mend: export {self.key_variable}=… again, copied from where the service shows it."
            )
        key = os.environ.get(self.key_variable, "").strip()
        if key:
            return key
        if self.is_local:
            return NO_KEY
        raise ModelError(
            f"{self.url} needs a key, and the environment variable {self.key_variable} is not set.\n"
            f"  mend: export {self.key_variable}=… in the shell that runs pytest; or name another variable by"
            " api_key_env."
        )

    def _api_version(self) -> str:
        version = self.api_version or os.environ.get("OPENAI_API_VERSION")
        if not version:
            raise ModelError(
                f"{self.url}: Azure's interface has dated versions, and none is named.\n"
                "  mend: api_version='2024-10-21', or export OPENAI_API_VERSION; or use the address that ends"
                " in /openai/v1, which has none."
            )
        return version


def _require_plain(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError("base_url is no address: write one such as 'http://127.0.0.1:8000/v1'.")
    if parts.username or parts.password or parts.query or parts.fragment:
        # not quoted: what is wrong with it may be that it holds a key
        raise UsageError(
            f"base_url of {parts.hostname}: it may hold no user, password, query or fragment, for it is"
            " recorded.\n  mend: put the key into the environment variable that api_key_env names."
        )
    return url
