"""A server that answers otherwise than the library is refused, with what differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pytest
from serving_stand_in import StandIn, answer_of
from tiny_llama import build_tokenizer

from harness import Decoding, ExactMatch, LoRA, Server, Suite
from harness.candidates.base import Call, Prepared
from harness.candidates.lab import Lab
from harness.candidates.prompted import Prompted
from harness.candidates.served import by_server, require_servable, served_notes
from harness.errors import ModelError, UsageError
from harness.models.chat_format import Chat
from harness.models.progress import Silent
from harness.models.protocol import AnswerSchema, Prompt
from harness.models.served import Weights
from harness.models.source import ModelSource
from harness.records import Answer
from harness.run.served_check import require_alike
from harness.run.suite_loading import LoadedSuite, load_suite
from harness.scoring.envelope import read_answer
from harness.store.adapters import AdapterStore

QUESTIONS = tuple(f"Where is order {k}?" for k in range(12))


@dataclass
class Library:
    """Answers as ``answer_of`` has it for the model ``tuned``; ``varies`` of them end otherwise."""

    chat: Chat
    varies: int = 0
    gap: float = 3.0
    numeric_config = "by rule"

    def answer(
        self, prompts: Sequence[Prompt], decoding: Decoding, known: frozenset[str]
    ) -> Iterator[Answer]:
        for k, prompt in enumerate(prompts):
            text = answer_of("tuned", prompt.messages[-1].content)
            text = "Another beginning" if k < self.varies else text
            count = len(self.chat.ids([self.chat.prompt(prompt.messages)])[0])
            yield Answer(prompt.row_id, text, count, 8, 1.0)

    def logprob(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        raise NotImplementedError

    def token_logprobs(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        own, others = -0.5, -0.5 - self.gap
        return [[own if k % 2 == 0 else others] * 200 for k, _ in enumerate(pairs)]


@dataclass
class Case:
    """A stand-in's fine-tune and its suite."""

    prepared: Prepared
    suite: LoadedSuite
    prompts: list[Prompt]

    def check(self) -> list[Answer]:
        call = Call(Prompted(model="x"), self.prepared, self.prompts)
        served = self.prepared.served
        assert served is not None
        return require_alike(
            "tuned@12",
            call,
            self.prompts,
            Decoding(),
            self.suite,
            "context",
            read_answer,
            served.service.open,
            Silent(),
        )

    def refused(self) -> str:
        with pytest.raises(ModelError) as raised:
            self.check()
        assert len(str(raised.value).splitlines()) <= 20
        return str(raised.value)


@pytest.fixture
def source(tmp_path: Path) -> ModelSource:
    folder = tmp_path / "model"
    folder.mkdir()
    build_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama", "vocab_size": 320, "eos_token_id": 1}')
    (folder / "model.safetensors").write_bytes(b"")
    return ModelSource("model", folder, "digest")


class Opens(Protocol):
    """Makes a case."""

    def __call__(
        self, fault: str = "", tells: str = "tokens", varies: int = 0, gap: float = 3.0, **given: object
    ) -> Case: ...


@pytest.fixture
def case(tmp_path: Path, source: ModelSource) -> Iterator[Opens]:
    opened: list[StandIn] = []

    def opens(
        fault: str = "", tells: str = "tokens", varies: int = 0, gap: float = 3.0, **given: object
    ) -> Case:
        lab = Lab(tmp_path, AdapterStore(tmp_path / "adapters"), Silent())
        chat = lab.chat(source, None)
        stand = StandIn({"tuned-12": source.folder}, fault=fault, tells=tells)
        opened.append(stand.__enter__())
        server = Server(url=stand.url, **given)  # type: ignore[arg-type]
        library = Prepared(
            model_name="model",
            model_digest="digest",
            identity="library",
            numeric_config="by rule",
            load=lambda: Library(chat, varies, gap),
            ask=lambda row, prompt: row.prompt,
        )
        prepared = by_server(lab, server, library, Weights(source, "key"), Decoding(), "tuned-12")
        suite = written_suite(tmp_path)
        return Case(prepared, suite, [Prompt(row.id, row.prompt) for row in suite.rows])

    yield opens
    for stand in opened:
        stand.__exit__()


def written_suite(root: Path) -> LoadedSuite:
    turns = (
        [("system", "You sort."), ("user", question), ("assistant", answer_of("tuned", question))]
        for question in QUESTIONS
    )
    lines = (json.dumps({"messages": [{"role": r, "content": c} for r, c in each]}) for each in turns)
    (root / "heldout.jsonl").write_text("\n".join(lines) + "\n")
    return load_suite(Suite(heldout="heldout.jsonl", scores=(ExactMatch(),)), root / "test_it.py", root)


@pytest.mark.parametrize("tells", ["tokens", "text", "count", "nothing"])
def test_a_server_that_answers_alike_passes_and_says_how_prompts_were_compared(
    case: Opens, tells: str
) -> None:
    made = case(tells=tells, version="1")
    assert len(made.check()) == len(QUESTIONS)
    (note,) = served_notes(made.prepared)
    said = {
        "tokens": "their prompts are equal.",
        "text": "their prompts are equal to the byte.",
        "count": "their prompts have as many tokens.",
        "nothing": "it does not tell what its template makes of prompts.",
    }
    assert note.endswith(f"12 answers are the same; {said[tells]}")
    assert made.check() == []  # it was compared, under these keys


def test_without_a_version_it_is_compared_whenever_it_is_asked(case: Opens) -> None:
    made = case()
    assert made.prepared.mutable is not None
    assert len(made.check()) == len(made.check()) == len(QUESTIONS)


@pytest.mark.parametrize(
    ("fault", "tells", "said"),
    [
        ("no-system", "tokens", ["byte 12", "here    …'<|im_start|>system", "server  …'<|im_start|>user"]),
        ("no-system", "text", ["byte 12"]),
        ("no-system", "count", ["as many as with no system turn"]),
        ("no-generation", "tokens", ["here    …'", "<|im_start|>assistant\\n'", "server  …'"]),
        ("no-generation", "count", ["as many as with no generation prompt"]),
        ("other-template", "text", ["byte 0", "server  …'### system"]),
        ("other-template", "count", ["tokens, and", "here    '<|im_start|>system"]),
        ("stray-end", "tokens", ["12 of 12 answers hold <|im_end|>, which ends a turn"]),
        ("runs-on", "count", ["12 of 12 answers run on to the limit where the library's end"]),
        ("base", "tokens", ["12 of 12 answers begin otherwise", "exact match agrees on 0 of 12 rows"]),
        ("other-adapter", "nothing", ["12 of 12 answers begin otherwise", "mean 1.000 here and 0.000"]),
    ],
)
def test_a_fault_of_the_server_is_named(case: Opens, fault: str, tells: str, said: list[str]) -> None:
    told = case(fault, tells).refused()
    assert "tuned@12: the server at http://127.0.0.1" in told
    assert [each for each in said if each not in told] == []


def test_near_ties_that_fall_otherwise_are_no_difference_and_more_of_them_are(case: Opens) -> None:
    assert case(varies=1, version="1").check()
    told = case(varies=4, version="2").refused()
    assert "4 of 12 answers begin otherwise" in told
    assert "differs 20 times less likely than its own" in told
    assert "begin otherwise" not in case(varies=12, gap=0.2, version="3").refused()  # the check tells


def test_a_name_that_the_server_does_not_have_is_told_with_the_folder_to_serve(case: Opens) -> None:
    made = case()
    service = made.prepared.served.service  # type: ignore[union-attr]
    with pytest.raises(ModelError, match=r"no model 'tuned-50'; it has tuned-12(.|\n)*adapters/served-"):
        replace(service, url_name="tuned-50").open()


def test_what_the_server_cannot_do_is_found_before_anything_is_trained() -> None:
    schema = AnswerSchema("{}", "answer.json")
    with pytest.raises(UsageError, match="does not hold answers to a schema"):
        require_servable(Server(), schema, is_adapter=True)
    with pytest.raises(UsageError, match=r"no place for \{adapters\}"):
        require_servable(Server(command=("x", "{port}", "{base}")), None, is_adapter=True)
    with pytest.raises(UsageError, match="no program /nowhere/vllm"):
        require_servable(Server(command=("/nowhere/vllm", "serve")), None, is_adapter=True)
    with pytest.raises(ModelError, match="api_key_env"):
        require_servable(Server(url="https://vllm.example.com/v1"), None, is_adapter=True)


def test_answers_are_kept_apart_by_server_and_from_the_librarys(case: Opens) -> None:
    first, second = case(version="1").prepared, case(version="2").prepared
    assert len({first.identity, second.identity, "library"}) == 3


def test_without_a_server_candidates_are_described_as_before() -> None:
    plain, served = LoRA(base="b", train="t"), LoRA(base="b", train="t", serve=Server())
    assert "serve" not in plain.described()
    assert "serve" not in plain.own_baseline().described()
    assert plain.recipe() == served.recipe()
    assert served.own_baseline().serve == Server()
    assert served.described()["serve"]["command"] == ["transformers", "serve"]  # type: ignore[index]
