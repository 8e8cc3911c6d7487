"""Where a hosted model is asked: an address, the name of the variable that holds its key, and clients.

The key itself is read from the environment when a client is made. It is in no field, and in no local
variable of a frame that may fail, so it reaches no repr, cache key, log, record or traceback with its locals.
A key is sent only where it belongs: ``OPENAI_API_KEY`` to OpenAI's own hosts, to this machine, and to the
address in ``OPENAI_BASE_URL``.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar
from urllib.parse import quote, urlsplit

from harness.errors import ModelError, UsageError

if TYPE_CHECKING:
    from httpx2 import AsyncClient, Client
    from openai import AsyncOpenAI, OpenAI

ClientKind: TypeAlias = Literal["openai", "azure", "compatible"]
ClientT = TypeVar("ClientT", "OpenAI", "AsyncOpenAI")
AnyClientT = TypeVar("AnyClientT")

OPENAI_URL = "https://api.openai.com/v1"
OPENAI_KEY, AZURE_KEY = "OPENAI_API_KEY", "AZURE_OPENAI_API_KEY"
NO_KEY = "no-key-needed"  # sent to a server of the team's own that asks for none: the SDK insists on a key
REDACTED = "[key]"
_KEY = re.compile(r"[!-~]+")  # visible ASCII: what an HTTP header can hold
SHORTEST_SECRET = 4  # characters; a shorter text is part of too many words to be taken out of them

OPENAI_HOST = "api.openai.com"  # and its regions, such as eu.api.openai.com
LOOPBACK_NAME, PRIVATE_NAMES = ".localhost", (".local", ".internal")
# a name without a dot, such as of a docker container; 2130706433 and 0x7f000001 are addresses, not names
_SINGLE_LABEL = re.compile(r"(?!0x[0-9a-f]*$)(?=[^a-z]*[a-z])[a-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible service.

    Args:
        base_url: its address, such as ``http://127.0.0.1:8000/v1``; of Azure the resource's. None: what
            ``OPENAI_BASE_URL`` says, else OpenAI's own.
        api_key_env: the environment variable that holds the key; see ``RemoteModel``.
        client_kind: ``"openai"``, ``"azure"``, or ``"compatible"`` for anything else that speaks the same.
        timeout_s: longest wait for one answer.

    Raises:
        UsageError: an address that is none, that carries a secret, or that is plain http in the internet.
    """

    base_url: str | None = None
    api_key_env: str | None = None
    client_kind: ClientKind = "openai"
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
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
        variable = self.api_key_env or (AZURE_KEY if self.client_kind == "azure" else None)
        # OPENAI_BASE_URL is the key's pair in the SDK, too
        is_openai_s = self.base_url is None or is_openai(self.url) or self.is_local
        return variable or (OPENAI_KEY if is_openai_s else None)

    @property
    def is_local(self) -> bool:
        """Whether the server runs on this machine."""
        return is_loopback(self.url)

    def require_key(self) -> None:
        """Check that a client can be made; the message of the ``ModelError`` has the line to write."""
        self._key()

    def client(self) -> OpenAI:
        """The official client, for tuning jobs and batches; it retries nothing by itself."""
        from openai import AzureOpenAI, DefaultHttpxClient, OpenAI

        self.require_key()
        http = DefaultHttpxClient(follow_redirects=False, trust_env=not self.is_local, timeout=self.timeout_s)
        return self._opened(OpenAI, AzureOpenAI, http)

    def async_client(self, connections: int) -> AsyncOpenAI:
        """The official client for asyncio, with ``connections`` kept open."""
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
            version = os.environ.get("OPENAI_API_VERSION")
            if not version:
                raise ModelError(
                    f"{self.url}: Azure's interface has dated versions, and none is named.\n"
                    "  hint: export OPENAI_API_VERSION=2024-10-21; or use the address that ends in"
                    " /openai/v1, which has none."
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

    def opened(self, kind: Callable[..., AnyClientT]) -> AnyClientT:
        """A client of a vendor's own, made with the key; ``kind`` brings everything else.

        Raises:
            ModelError: there is no key.
        """
        self.require_key()
        return kind(api_key=self._key())

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


# ----------------------------------------------------------------- whose host an address names
# By its name alone: nothing is looked up, for a name server would learn the address.
def host_of(url: str) -> str:
    """The host's name or number, in lower case."""
    return (urlsplit(url).hostname or "").rstrip(".")


def is_openai(url: str) -> bool:
    """Whether the address is OpenAI's own, and encrypted."""
    host = host_of(url)
    return urlsplit(url).scheme == "https" and (host == OPENAI_HOST or host.endswith(f".{OPENAI_HOST}"))


def is_loopback(url: str) -> bool:
    """Whether the server runs on this machine."""
    host = host_of(url)
    number = _number(host)
    return f".{host}".endswith(LOOPBACK_NAME) if number is None else number.is_loopback


def is_private(url: str) -> bool:
    """Whether the server is on this machine or in a network of one's own.

    Loopback, private and link-local numbers (RFC 1918, 4193, 3927, 4291), ``*.local`` (RFC 6762),
    ``*.internal``, and names without a dot.
    """
    host = host_of(url)
    number = _number(host)
    if number is not None:
        return number.is_private or number.is_link_local or number.is_loopback
    named = host.endswith(PRIVATE_NAMES) or _SINGLE_LABEL.fullmatch(host) is not None
    return named or is_loopback(url)


def require_address(url: str) -> str:
    """``url``, where requests may go there.

    Raises:
        UsageError: it is no address, holds a secret, or is plain http in the internet.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        usable = usable and url.isprintable() and " " not in url  # urlsplit passes over line ends
    except ValueError:
        usable = False
    if not usable:
        raise UsageError("base_url is no address: write one such as 'http://127.0.0.1:8000/v1'.")
    if parts.username or parts.password or parts.query or parts.fragment:
        # the address is not quoted: it may hold a key
        raise UsageError(
            f"base_url of {parts.hostname}: it may hold no user, password, query or fragment, for it is"
            " recorded.\n  hint: put the key into the environment variable that api_key_env names."
        )
    if parts.scheme == "http" and not is_private(url):
        raise UsageError(
            f"base_url {url}: http:// is not encrypted, and would show key, prompts and answers to everybody"
            " on the way.\n  hint: write https://. Plain http is for this machine and private networks (10.*,"
            " 172.16-31.*, 192.168.*, *.local, *.internal, names without a dot)."
        )
    return url


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = number.ipv4_mapped if isinstance(number, ipaddress.IPv6Address) else None
    return mapped or number
