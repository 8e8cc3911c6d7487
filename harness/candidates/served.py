"""Answers by a server of one's own in place of the library's, for any kind whose artifact is weights."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from harness.candidates.base import MutableModel, Prepared
from harness.candidates.lab import Lab
from harness.data.fingerprints import fingerprint
from harness.errors import UsageError
from harness.models.endpoint import Endpoint
from harness.models.protocol import AnswerSchema, Decoding
from harness.models.served import FORM, Service, Weights, served_decoding
from harness.models.server import Server
from harness.records import Json


@dataclass(frozen=True)
class ByServer:
    """What answers, and the same weights as the library answers for them."""

    service: Service
    library: Prepared

    def record(self, identity: str, context: str) -> Path:
        """Where it is written what comparing one suite's answers of ``identity`` came to."""
        return self.service.store / f"served-{fingerprint([identity, context])[:16]}.json"


def with_server(described: dict[str, Json], server: Server | None) -> dict[str, Json]:
    """A candidate's fields with its server; without one, as they were before there was such a field."""
    fields = {name: value for name, value in described.items() if name != "serve"}
    return fields if server is None else {**fields, "serve": server.described()}


def served_notes(prepared: Prepared | None) -> tuple[str, ...]:
    """Sentences for the report on what comparing the server's answers with the library's came to."""
    if prepared is None or prepared.served is None:
        return ()
    found = (
        json.loads(file.read_text("utf-8")) for file in prepared.served.service.store.glob("served-*.json")
    )
    return tuple(sorted({one["told"] for one in found if one["identity"] == prepared.identity}))


def by_server(
    lab: Lab, server: Server, library: Prepared, weights: Weights, decoding: Decoding, url_name: str
) -> Prepared:
    """``library``, answered for by a server.

    Args:
        lab: the run's.
        server: it.
        library: how these weights are answered for here.
        weights: what is served.
        decoding: whether it thinks is written into the served template.
        url_name: its name on a server that runs already.
    """
    service = Service(
        server=server,
        weights=weights,
        servers=lab.servers,
        progress=lab.progress,
        store=lab.adapters.folder("served").parent,
        chat=lambda: lab.chat(weights.source, decoding.thinking),
        url_name=url_name,
    )
    spec = service.anywhere
    # what a server computes with is its own affair; a machine of one's own is told apart by its device
    where = (
        {"name": url_name}
        if server.url is not None
        else {"device": lab.plan().device, "dtype": weights.dtype, "nf4": weights.nf4}
    )
    identity = fingerprint(
        {
            "served": server.identity(),
            "form": FORM,
            "of": library.identity,
            "thinking": bool(decoding.thinking),
            **where,
        }
    )
    return replace(
        library,
        identity=identity,
        numeric_config=f"those of {server.told}",
        load=service.open,
        batch_independent=True,
        read=lambda prompts, decoding: spec.sent_beside(prompts, served_decoding(decoding)),
        mutable=None if server.known_version is not None else MutableModel(spec, service.open),
        gives_logprobs=False,
        served=ByServer(service, library),
    )


def require_servable(server: Server, schema: AnswerSchema | None, *, is_adapter: bool) -> None:
    """See that the server can be started, and can do what is asked of it.

    Raises:
        UsageError: a program or a package is missing, or it takes no adapters, or binds no answers.
        ModelError: there is no key.
    """
    if schema is not None and not server.binds:
        raise UsageError(
            f"schema={schema.name}: {server.told} does not hold answers to a schema.\n"
            "  hint: serve with vLLM (Server(command=('/path/to/vllm', 'serve'))), or leave schema= out."
        )
    if is_adapter and not server.takes_adapters:
        raise UsageError(
            f"Server(command={server.command}): no place for {{adapters}}, and an adapter is to be served.\n"
            "  hint: say where adapters go ('--lora-modules', '{adapters}'), or write ship=\"merged\"."
        )
    server.require_startable()
    if server.url is not None:
        Endpoint(server.url, server.api_key_env, "compatible").require_key()
