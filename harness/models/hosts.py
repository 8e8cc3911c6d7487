"""The owner of a host, by its name alone: nothing is looked up, for a name server would learn the address."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from harness.errors import UsageError

OPENAI_HOST = "api.openai.com"  # and its regions, such as eu.api.openai.com
LOOPBACK_NAME, PRIVATE_NAMES = ".localhost", (".local", ".internal")
# a name without a dot, such as of a docker container; 2130706433 and 0x7f000001 are addresses, not names
_SINGLE_LABEL = re.compile(r"(?!0x[0-9a-f]*$)(?=[^a-z]*[a-z])[a-z0-9_-]+")


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
