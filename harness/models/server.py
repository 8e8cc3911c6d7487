"""A server of one's own that answers for local weights, as users write it, and its command.

LoRA(..., serve=Server())                                         # transformers serve of this environment
LoRA(..., serve=Server(command=("/opt/vllm/bin/vllm", "serve")))  # vLLM, in an environment of its own
LoRA(..., serve=Server(url="http://127.0.0.1:8000/v1"))           # one that runs already
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated

from harness.data.fingerprints import fingerprint
from harness.errors import UsageError
from harness.extras import installed_version, require_extra
from harness.fields import Count, Positive, Span, require_fields
from harness.models.endpoint import require_address
from harness.records import Json

TRANSFORMERS = ("transformers", "serve")
BASE_NAME = "base"  # of the base, on a server that is told names
VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that it takes for --max-lora-rank
_PLACES = frozenset(("adapters", "base", "name", "port", "rank"))
_VERSIONED = re.compile(r"(?P<name>[\w.]+)-(?P<version>[^-]+)\.dist-info")


@dataclass(frozen=True, slots=True)
class Program:
    """What is added to the command of a server that is known, where it names no ``{port}`` itself."""

    added: tuple[str, ...]
    with_adapters: tuple[str, ...] = ()
    nf4: tuple[str, ...] = ()  # quantises a base as QLoRA's training does
    by_folder: bool = False  # it is sent the names of folders, and loads them
    binds: bool = True  # it holds answers to a schema
    concurrency: int | None = None  # calls at once (None: the usual number)


_LISTENS = ("--host", "127.0.0.1", "--port", "{port}")
PROGRAMS: Mapping[str, Program] = {
    # it computes one answer at a time: more calls would wait, and their waiting would count as latency
    "transformers": Program(
        _LISTENS, nf4=("--quantization", "bnb-4bit"), by_folder=True, binds=False, concurrency=1
    ),
    "vllm": Program(
        ("{base}", *_LISTENS, "--served-model-name", "{name}"),
        ("--enable-lora", "--max-lora-rank", "{rank}", "--lora-modules", "{adapters}"),
        ("--quantization", "bitsandbytes"),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Server:
    """An OpenAI-compatible server that answers in place of the library; see docs/serving.md.

    Without ``command`` and ``url`` it is ``transformers serve`` of this environment.

    Args:
        command: started here, on a free port of 127.0.0.1, when the first answer is missing, and ended with
            the run. ``transformers serve`` and ``vllm serve`` get the arguments they need. Any other command
            says where they go: ``{port}``, ``{base}`` (the folder of a model), and as it needs them
            ``{name}`` (that the base is asked by), ``{adapters}`` (``name=folder`` of each) and ``{rank}``
            (the largest one's).
        env: variables for it, on top of this process', which leaves out those that hold keys and tokens.
        url: the address of one that runs already, such as ``http://127.0.0.1:8000/v1``.
        base_name: the base's name at ``url`` (None: as the candidate has it).
        adapter_name: the fine-tune's name at ``url``; ``{candidate}``, ``{size}``, ``{seed}`` and ``{key}``
            are filled in.
        api_key_env: the variable that holds the key for ``url``.
        version: of what answers, where it cannot be read from the command's environment. Without any, a few
            kept answers are asked for again in each run.
        concurrency: calls on their way at once.
        compare_rows: rows of each suite that the library answers too, before the server's answers count.
        ready_s: how long it may take to be ready.
        timeout_s: longest wait for one answer.

    Raises:
        UsageError: both are given, or the command does not say where its port and its model go.
    """

    command: Annotated[tuple[str, ...], Span(1)] = TRANSFORMERS
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    url: str | None = None
    base_name: str | None = None
    adapter_name: str = "{candidate}-{size}"
    api_key_env: str | None = None
    version: str | None = None
    concurrency: Count | None = None
    compare_rows: Annotated[int, Span(5, 1_000)] = 20
    ready_s: Positive = 600.0
    timeout_s: Positive = 300.0

    def __post_init__(self) -> None:
        require_fields(self)
        if self.url is not None:
            require_address(self.url)
            if self.command != TRANSFORMERS or self.env:
                raise UsageError("Server: give url= of a server that runs, or command= to start one.")
            _require_places(
                self.adapter_name, frozenset(("candidate", "key", "seed", "size")), "adapter_name"
            )
            if re.search(r"\{\w*[^\w}]", self.adapter_name):  # formats could make a name of any length
                raise UsageError(
                    f"Server(adapter_name={self.adapter_name!r}): a place is a word in braces, and no more.\n"
                    '  hint: adapter_name="{candidate}-{size}".'
                )
            return
        for word in self.command:
            _require_places(word, _PLACES, "command")
        written = " ".join(self.command)
        missing = [name for name in ("{port}", "{base}") if name not in written]
        if self.program is None and missing:
            raise UsageError(
                f"Server(command={self.command}): it does not say where {' and '.join(missing)} go.\n"
                '  hint: command=("sglang", "serve", "--model-path", "{base}", "--port", "{port}").'
            )

    @cached_property
    def program(self) -> Program | None:
        """What is known of it; None where the command is written out."""
        if any("{port}" in word for word in self.command):
            return None
        known = PROGRAMS.get(Path(self.command[0]).name)
        return known if known is not None and "serve" in self.command[1:2] else None

    @property
    def is_own(self) -> bool:
        """Whether it is ``transformers`` of this environment."""
        return self.url is None and self.command[0] == TRANSFORMERS[0]

    @property
    def by_folder(self) -> bool:
        """Whether it is sent the names of folders, and loads them."""
        return self.url is None and self.program is not None and self.program.by_folder

    @property
    def takes_adapters(self) -> bool:
        """Whether it answers by an adapter on a base."""
        if self.url is not None or self.by_folder:
            return True
        return self.program is not None or any("{adapters}" in word for word in self.command)

    @property
    def binds(self) -> bool:
        """Whether it may hold answers to a schema."""
        return self.url is not None or self.program is None or self.program.binds

    @property
    def calls_at_once(self) -> int | None:
        """See ``RemoteModel.concurrency``."""
        return self.concurrency or (self.program.concurrency if self.url is None and self.program else None)

    @cached_property
    def known_version(self) -> str | None:
        """As it was given, or as the environment that the command stands in has it."""
        if self.version is not None or self.url is not None:
            return self.version
        name = Path(self.command[0]).name
        if self.is_own:
            return installed_version(name)
        found = Path(self.command[0]).parent.parent.glob(f"lib/python3*/site-packages/{name}-*.dist-info")
        match = next((_VERSIONED.fullmatch(folder.name) for folder in found), None)
        return None if match is None else match["version"]

    @property
    def told(self) -> str:
        """It, in words."""
        if self.url is not None:
            return f"the server at {self.url}"
        said = f"{Path(self.command[0]).name} {' '.join(self.command[1:2])}".strip()
        return f"{said} {self.known_version or ''}".strip()

    def identity(self) -> dict[str, Json]:
        """What of it shapes an answer, for keys."""
        shaping = {**self.env}
        return {
            **({"command": list(self.command)} if self.url is None else {"url": self.url}),
            **({"env": fingerprint(shaping)} if shaping else {}),
            "version": self.known_version,
            **({"torch": installed_version("torch")} if self.is_own else {}),
        }

    def described(self) -> dict[str, Json]:
        """The fields that say who answered, for the record; of ``env`` the names alone."""
        found: dict[str, Json] = {"version": self.known_version, "compare_rows": self.compare_rows}
        if self.url is not None:
            return {"url": self.url, **found}
        return {"command": list(self.command), **({"env": sorted(self.env)} if self.env else {}), **found}

    def require_startable(self) -> None:
        """See that it can be started, without starting it.

        Raises:
            UsageError: its program or a package is missing.
        """
        if self.url is not None:
            return
        if self.is_own:
            require_extra("serve", "serve=Server()")
            return
        import shutil

        if shutil.which(self.command[0]) is None:
            raise UsageError(
                f"Server(command={self.command}): there is no program {self.command[0]}.\n"
                "  hint: name it with its whole path, such as /opt/vllm/bin/vllm."
            )

    def argv(
        self, port: int, base: Path | None, adapters: Mapping[str, Path], rank: int, *, nf4: bool
    ) -> list[str]:
        """The command to start, with everything filled in."""
        words: Sequence[str] = self.command
        if self.is_own:
            main = "from transformers.cli.transformers import main; main()"
            words = (sys.executable, "-c", main, *self.command[1:])
        if self.program is not None:
            flags = self.program.with_adapters if adapters else ()
            words = (*words, *self.program.added, *flags, *(self.program.nf4 if nf4 else ()))
        rank = next((known for known in VLLM_RANKS if known >= rank), rank)
        values = {"port": str(port), "base": str(base), "name": BASE_NAME, "rank": str(rank)}
        filled: list[str] = []
        for word in words:
            if word == "{adapters}":
                filled += [f"{name}={folder}" for name, folder in adapters.items()]
            else:
                each = ",".join(f"{name}={folder}" for name, folder in adapters.items())
                filled.append(_filled(word, {**values, "adapters": each}))
        return filled

    def name_at_url(self, *, candidate: str, size: int | None, seed: int | None, key: str) -> str:
        """The name of a fine-tune on the server at ``url``."""
        values = {"candidate": candidate, "size": str(size), "seed": str(seed or 0), "key": key}
        return _filled(self.adapter_name, values)


def _filled(word: str, values: Mapping[str, str]) -> str:
    """Names in braces replaced; other braces, as in JSON, stay."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), word)


def _require_places(word: str, known: frozenset[str], where: str) -> None:
    named = {found for found in re.findall(r"\{(\w+)\}", word) if found not in known}
    if named:
        raise UsageError(
            f"Server({where}): nothing is known by {{{sorted(named)[0]}}}.\n"
            f"  hint: {', '.join(f'{{{name}}}' for name in sorted(known))} are filled in."
        )
