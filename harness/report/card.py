"""The model card of an exported fine-tune, and the commands that serve it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from harness.records import Decision, Gate, Json, RunRecord, Training, Verdict
from harness.report import numbers
from harness.report.markdown import plain
from harness.report.pages import environment


@dataclass(frozen=True)
class SuiteCard:
    """How one suite asked it, and what came when it was asked again."""

    name: str
    rows: int
    rows_digest: str
    prompts_digest: str
    system: str | None  # the system message of all its rows; None: each has its own
    prompt: str  # with names in the place of contents
    decoding: Mapping[str, Json]
    checked: tuple[str, ...]  # sentences


@dataclass(frozen=True)
class Card:
    """What the card says. Texts are plain; the template makes Markdown of them."""

    record: RunRecord
    candidate: str
    size: int | None
    label: str
    seed: int | None
    decision: Decision | None
    training: Training
    train_file: str
    form: str  # "adapter", "merged" or "gguf"
    folder: str  # where it is
    base: str  # as others find it
    base_shown: str  # as the run names it
    base_digest: str
    is_on_hub: bool
    licence: str | None
    nf4: bool
    rank: int | None
    thinks: bool
    ends: Mapping[str, int]  # end tokens
    schemas: Mapping[str, str]  # JSON schemas that answers are bound to, by name
    suites: tuple[SuiteCard, ...]
    rule: str


def verdict_line(decision: Decision | None) -> str:
    """``GO``, ``NO-GO``, ``INCONCLUSIVE``, or that nothing was decided."""
    return "NOT DECIDED" if decision is None else str(decision.verdict)


def is_shippable(decision: Decision | None) -> bool:
    """Whether the run says that it should ship."""
    return decision is not None and decision.verdict is Verdict.GO


def render_card(card: Card) -> str:
    """README.md: Hugging Face's metadata, then the card."""
    made = environment().overlay(autoescape=False)
    made.filters = {**made.filters, "plain": plain, "fenced": fenced, "json": _json}
    gates = [
        gate
        for gate in card.record.gates
        if (gate.candidate, gate.size) == (card.candidate, card.size)
        and gate.state in (("measured",) if card.decision is None else ("gated", "advisory"))
    ]
    return made.get_template("card.md.j2").render(
        card=card,
        metadata=_metadata(card),
        verdict=verdict_line(card.decision),
        gates=[_gate(gate) for gate in gates],
        commands=commands(card),
        seeds=len({trial.seed for trial in card.record.trials if trial.candidate == card.candidate}),
    )


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def fenced(text: str, language: str = "") -> str:
    """A block of code whose fence nothing in it closes."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _metadata(card: Card) -> str:
    """YAML: a JSON text is one, so nothing that a user wrote breaks it."""
    library = {"adapter": "peft", "merged": "transformers", "gguf": "gguf"}[card.form]
    relation = {"adapter": "adapter", "merged": "finetune", "gguf": "quantized"}[card.form]
    fields: dict[str, Json] = {
        **({"base_model": card.base, "base_model_relation": relation} if card.is_on_hub else {}),
        "library_name": library,
        **({"license": card.licence} if card.licence else {}),
        "pipeline_tag": "text-generation",
        "tags": ["finetune-harness", *(["lora"] if card.rank else [])],
    }
    return "\n".join(f"{name}: {json.dumps(value)}" for name, value in fields.items())


def _gate(gate: Gate) -> Mapping[str, str]:
    """One row of the table of gates."""
    found = gate.comparison
    told = " (advises)" if gate.state == "advisory" else ""
    row = {"suite": gate.suite, "gate": f"{gate.role}{told}", "test": gate.test.rpartition("::")[2]}
    if found is None:
        return {**row, "score": "", "n": "", "difference": "", "interval": "", "outcome": gate.why}
    interval = f"{numbers.interval(found.low, found.high)} ({numbers.level(found.alpha)})"
    return {
        **row,
        "score": found.score,
        "n": str(found.n),
        "difference": numbers.points(found.difference),
        "interval": interval,
        "outcome": str(found.outcome),
    }


def commands(card: Card) -> list[tuple[str, str]]:
    """How to serve it: what, and the shell's lines."""
    name, here = shlex.quote(card.label.replace("@", "-")), shlex.quote(card.folder)
    base = shlex.quote(card.base)
    if card.form == "gguf":
        gguf = shlex.quote(f"{card.folder}/model.gguf")
        return [
            (
                "Ollama",
                f"ollama create {name} -f {shlex.quote(card.folder + '/Modelfile')}\nollama run {name}",
            ),
            ("llama.cpp", f"llama-server -m {gguf} --jinja --alias {name}"),
        ]
    if card.form == "merged":
        ollama = f"ollama create {name} -f {shlex.quote(card.folder + '/Modelfile')}"
        return [
            ("vLLM", f"vllm serve {here} --served-model-name {name}"),
            ("transformers", f"transformers serve {here}"),
            ("Ollama", ollama),
        ]
    # else the base's own template, end tokens and sampling defaults would count
    template = shlex.quote(f"{card.folder}/chat_template.jinja")
    lora = f"--enable-lora --max-lora-rank {_lora_rank(card.rank or 16)}"
    vllm = f"vllm serve {base} {lora} \\\n  --generation-config {here} --chat-template {template}"
    vllm += " --quantization bitsandbytes" if card.nf4 else ""
    return [
        ("vLLM", f"{vllm} \\\n  --lora-modules {name}={here}"),
        (
            "vLLM, many adapters on one base",
            f"{vllm} \\\n  --max-loras 4 --lora-modules {name}={here} OTHER=path/to/other",
        ),
    ]


def _lora_rank(rank: int) -> int:
    """The least of the ranks that vLLM takes."""
    return next((known for known in (8, 16, 32, 64, 128, 256, 320, 512) if known >= rank), rank)


def render_modelfile(card: Card) -> str:
    """Ollama's Modelfile."""
    decoding = card.suites[0].decoding
    source = "./model.gguf" if card.form == "gguf" else "."
    lines = [f"# {verdict_line(card.decision)}: {card.label}, run {card.record.id}", f"FROM {source}"]
    shared = {suite.system for suite in card.suites if suite.system != ""}
    if len(shared) == 1 and (system := next(iter(shared))) is not None:
        lines.append(f'SYSTEM """{system}"""')
    lines += [
        f"PARAMETER temperature {decoding.get('temperature', 0)}",
        f"PARAMETER top_p {decoding.get('top_p', 1)}",
        "PARAMETER repeat_penalty 1",
        f"PARAMETER num_predict {max(int(str(s.decoding.get('max_new_tokens', 128))) for s in card.suites)}",
        *(f'PARAMETER stop "{token}"' for token in card.ends),
    ]
    return "\n".join(lines) + "\n"


def files_of(card: Card) -> Mapping[str, str]:
    """All texts that go with the artifact, by file name."""
    found = {"README.md": render_card(card)}
    if card.form != "adapter":
        found["Modelfile"] = render_modelfile(card)
    return found | {f"schema-{k}.json": text for k, text in enumerate(card.schemas.values(), 1)}
