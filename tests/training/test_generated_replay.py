"""General rows by the base itself: said once, whole, and mixed in like rows from a file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_llama import BF16, EXACT, build_tokenizer, row

import harness
from harness import QLoRA, SelfGenerated
from harness.candidates.base import Variant
from harness.candidates.lab import Lab
from harness.data.leakage import find_leaks, require_no_leaks
from harness.data.rows import read_rows
from harness.errors import DataError, LeakError, StoreError, TrainingError, UsageError
from harness.models.chat import load_tokenizer
from harness.models.chat_format import Chat
from harness.models.local import LocalModel
from harness.models.progress import Silent
from harness.models.protocol import Decoding, Prompt
from harness.models.source import ModelSource, folder_digest
from harness.records import Answer, Row, Training
from harness.store.adapters import AdapterStore
from harness.training.executor import InlineExecutor
from harness.training.local import self_generated
from harness.training.local.self_generated import NEUTRAL_PROMPTS, GeneratedRows, plan_generation

PROJECT = Path(__file__).parents[2]
BASE = ModelSource("tiny", Path("nowhere"), "d" * 64)
Say = Callable[[str], str]


class Base:
    """A base that says what a function tells it to; ``…`` at the end: cut off; ``!`` alone: failed."""

    numeric_config = "scripted"

    def __init__(self, say: Say) -> None:
        self._say = say

    def answer(
        self, prompts: Sequence[Prompt], decoding: Decoding, known: frozenset[str]
    ) -> Iterator[Answer]:
        for prompt in reversed(prompts):  # answers come in any order
            text = self._say(prompt.messages[-1].content)
            if text == "!":
                yield Answer(prompt.row_id, "", 1, 0, 1.0, "failed", "out of memory")
            else:
                yield Answer(prompt.row_id, text, 1, 1, 1.0, "length" if text.endswith("…") else "stop")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Callable[[Say], list[bool]]:
    """Put a scripted base in the place of any model; gives back whether each load was quantised."""

    def use(say: Say) -> list[bool]:
        loaded: list[bool] = []

        def load(source: ModelSource, plan: object, *, nf4: bool = False) -> Base:
            loaded.append(nf4)
            return Base(say)

        monkeypatch.setattr(LocalModel, "load", load)
        monkeypatch.setattr(self_generated, "load_chat", lambda source: Chat(build_tokenizer()))
        return loaded

    return use


def generation(tmp_path: Path, spec: SelfGenerated, *prompts: str) -> GeneratedRows:
    if prompts:
        (tmp_path / "prompts.txt").write_text("\n".join(prompts) + "\n", encoding="utf-8")
        spec = replace(spec, prompts="prompts.txt")
    return plan_generation(spec, tmp_path, BASE, False, EXACT, AdapterStore(tmp_path / "adapters"))


def said(rows: Sequence[Row]) -> list[tuple[str, str]]:
    return [(r.question, r.reference) for r in rows]


# --------------------------------------------------------------------------- what may be asked for
@pytest.mark.parametrize("rows", [0, 101, -3])
def test_between_1_and_100_rows_may_be_asked_for(rows: int) -> None:
    with pytest.raises(UsageError, match=rf"rows={rows}\): use 1 to 100; 50 to 100 are advised.*every size"):
        SelfGenerated(rows=rows)
    with pytest.raises(UsageError, match="a whole number of at least 1"):
        SelfGenerated(max_new_tokens=0)


def test_a_candidate_with_generated_replay_is_hashable_and_its_description_is_json() -> None:
    spec = QLoRA(base="b", train="t", replay=harness.SelfGenerated())
    assert hash(spec) != hash(replace(spec, replay=SelfGenerated(rows=50)))
    shown = json.loads(json.dumps(spec.described()))
    assert shown["replay"] == {"rows": 60, "max_new_tokens": 96, "prompts": None}


def test_the_shipped_prompts_are_a_hundred_and_near_to_no_row_of_the_worked_example(tmp_path: Path) -> None:
    prompts = generation(tmp_path, SelfGenerated(rows=100)).prompts
    assert len(prompts) == len(NEUTRAL_PROMPTS.read_text(encoding="utf-8").splitlines()) == 100
    for file in PROJECT.glob("suites/*/*.jsonl"):
        if file.name in ("heldout.jsonl", "dev.jsonl"):
            assert find_leaks(prompts, read_rows(file)) == ()


def test_the_prompts_are_in_the_wheel() -> None:
    package_data = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = package_data["tool"]["setuptools"]["package-data"]["harness"]
    assert any(NEUTRAL_PROMPTS.match(f"harness/{pattern}") for pattern in patterns)


# --------------------------------------------------------------------------- the user's own prompts
def test_own_prompts_are_one_a_line_without_blank_lines_and_repeats(tmp_path: Path) -> None:
    prompts = generation(tmp_path, SelfGenerated(rows=2), "Who?", "", "  What? ", "Who?").prompts
    assert [(r.question, r.where.rpartition("/")[2]) for r in prompts] == [
        ("Who?", "prompts.txt:1"),
        ("What?", "prompts.txt:3"),
    ]


def test_own_chat_rows_lose_their_last_reply_and_earlier_replies_are_not_learnt(
    tmp_path: Path, loads: Callable[[Say], list[bool]]
) -> None:
    loads(lambda text: f"the base on {text}")
    turns = [("system", "Be brief."), ("user", "A?"), ("assistant", "a"), ("user", "B?"), ("assistant", "b")]
    line = {"id": "own-1", "messages": [{"role": role, "content": text} for role, text in turns]}
    (tmp_path / "own.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    rows = generation(tmp_path, SelfGenerated(rows=1, prompts="own.jsonl"))
    assert rows.prompts[0].reference == ""
    (made,) = rows.get(Silent())
    assert made.id == "own-1"
    assert [(m.role, m.content, m.weight) for m in made.messages[2:]] == [
        ("assistant", "a", 0),
        ("user", "B?", 1),
        ("assistant", "the base on B?", 1),
    ]


def test_prompts_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"prompts.txt: 2 different prompts, and SelfGenerated\(rows=3\)"):
        generation(tmp_path, SelfGenerated(rows=3), "Who?", "What?")
    with pytest.raises(DataError, match=r"there\.txt: there is no such file"):
        generation(tmp_path, SelfGenerated(prompts="there.txt"))
    (tmp_path / "latin.txt").write_bytes("Où ?".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.txt:1: is not UTF-8"):
        generation(tmp_path, SelfGenerated(prompts="latin.txt"))


def test_a_path_to_prompts_starts_from_the_folder_of_the_candidate(
    project: tuple[Lab, QLoRA], tmp_path: Path
) -> None:
    lab, spec = project
    (tmp_path / "deeper").mkdir()
    (tmp_path / "prompts.txt").rename(tmp_path / "deeper" / "prompts.txt")
    generated = spec.generated_rows(lab.at(tmp_path / "deeper"))
    assert generated is not None
    assert generated.prompts[0].where == f"{tmp_path / 'deeper' / 'prompts.txt'}:1"


# --------------------------------------------------------------------------- which replies become rows
def test_a_reply_that_is_cut_off_empty_or_failed_gives_way_to_the_next_prompt(
    tmp_path: Path, loads: Callable[[Say], list[bool]]
) -> None:
    replies = {"1": "one", "2": "cut…", "3": " \n", "4": "four", "5": "!", "6": "six\n«6»", "7": "seven"}
    loads(replies.__getitem__)
    rows = generation(tmp_path, SelfGenerated(rows=3), *replies)
    assert said(rows.get(Silent())) == [("1", "one"), ("4", "four"), ("6", "six\n«6»")]
    assert rows.summary() == (
        "3 general rows were generated by the base itself; 3 of 6 replies were left out"
        " (1 not ended within 96 tokens, 1 empty, 1 failed)."
    )
    record = json.loads((rows.folder / "generation.json").read_text(encoding="utf-8"))
    assert {key: record[key] for key in ("wanted", "kept", "cut_off", "empty", "failed")} == {
        "wanted": 3,
        "kept": 3,
        "cut_off": 1,
        "empty": 1,
        "failed": 1,
    }


def test_a_reply_that_would_not_be_read_as_it_was_written_is_left_out_and_counted(
    tmp_path: Path, loads: Callable[[Say], list[bool]]
) -> None:
    replies = {"1": "a turn ends with <|im_end|> here", "2": "two", "3": "a<|im_end|>b", "4": "4"}
    loads(replies.__getitem__)
    rows = generation(tmp_path, SelfGenerated(rows=2), *replies)
    assert [answer for _, answer in said(rows.get(Silent()))] == ["two", "4"]
    assert "2 of 4 replies were left out (2 not to be trained on as they are)" in (rows.summary() or "")


def test_prompts_beyond_the_first_round_are_asked_until_there_are_enough(
    tmp_path: Path, loads: Callable[[Say], list[bool]]
) -> None:
    loads(lambda text: "yes" if int(text) % 3 == 0 else "so…")
    rows = generation(tmp_path, SelfGenerated(rows=20), *map(str, range(100))).get(Silent())
    assert [r.question for r in rows] == [str(k) for k in range(0, 60, 3)]


def test_fewer_rows_than_asked_for_are_said_and_fewer_than_half_are_refused_for_good(
    tmp_path: Path, loads: Callable[[Say], list[bool]]
) -> None:
    loaded = loads(lambda text: "yes" if int(text) < 5 else "so…")
    half = generation(tmp_path, SelfGenerated(rows=10), *map(str, range(12)))
    assert len(half.get(Silent())) == 5
    assert "only 5 of 10 general rows" in (half.summary() or "")
    less = generation(tmp_path, SelfGenerated(rows=11), *map(str, range(12)))
    refusal = (
        r"tiny gave only 5 of the 11 .*: 7 of 12 replies .*7 not ended within 96 tokens(?s:.)*hint: raise"
    )
    for look in (lambda: less.get(Silent()), less.found, lambda: less.get(Silent())):
        with pytest.raises(TrainingError, match=refusal):
            look()
    assert len(loaded) == 2


# --------------------------------------------------------------------------- once
def test_nothing_is_generated_twice_also_by_two_at_once(
    tmp_path: Path, loads: Callable[[Say], list[bool]]
) -> None:
    loaded = loads(str.upper)
    rows = generation(tmp_path, SelfGenerated(rows=2), "a", "b")
    assert rows.found() is None
    assert rows.summary() is None
    with ThreadPoolExecutor(2) as both:
        first, second = both.map(lambda _: rows.get(Silent()), range(2))
    assert said(first) == said(second) == said(rows.found() or ()) == [("a", "A"), ("b", "B")]
    assert len(loaded) == 1


def test_whatever_shapes_the_replies_is_in_the_name_and_nothing_else(tmp_path: Path) -> None:
    rows = generation(tmp_path, SelfGenerated(rows=2), "a", "b")
    others = {
        replace(rows, source=replace(BASE, digest="e" * 64)).folder,
        replace(rows, nf4=True).folder,
        replace(rows, plan=BF16).folder,
        replace(rows, prompts=rows.prompts[::-1]).folder,
        replace(rows, spec=replace(rows.spec, rows=1)).folder,
        replace(rows, spec=replace(rows.spec, max_new_tokens=97)).folder,
    }
    assert len(others - {rows.folder}) == 6
    moved = [replace(r, id=f"x{k}", where="elsewhere:1") for k, r in enumerate(rows.prompts)]
    assert replace(rows, prompts=tuple(moved), source=replace(BASE, name="other")).folder == rows.folder


def test_a_damaged_generation_is_made_again_or_named(
    tmp_path: Path, loads: Callable[[Say], list[bool]]
) -> None:
    loads(str.upper)
    rows = generation(tmp_path, SelfGenerated(rows=2), "a", "b")
    rows.get(Silent())
    rows.file.write_text("", encoding="utf-8")
    assert rows.found() is None
    assert len(rows.get(Silent())) == 2
    record = rows.folder / "generation.json"
    record.write_text("x" * record.stat().st_size, encoding="utf-8")
    with pytest.raises(StoreError, match=r"generation\.json cannot be read: delete"):
        rows.found()


def test_a_record_of_an_earlier_version_is_read(tmp_path: Path, loads: Callable[[Say], list[bool]]) -> None:
    loads(str.upper)
    rows = generation(tmp_path, SelfGenerated(rows=2), "a", "b")
    rows.get(Silent())
    said_now, record = rows.summary(), rows.folder / "generation.json"
    text = record.read_text(encoding="utf-8")
    assert '"numeric_config":' in text
    # as long as before, because the manifest counts bytes
    record.write_text(text.replace('"numeric_config":', '"numerics":      '), encoding="utf-8")
    assert said(rows.found() or ()) == [("a", "A"), ("b", "B")]
    assert rows.summary() == said_now


def test_rows_that_were_said_are_read_without_torch(
    tmp_path: Path, loads: Callable[[Say], list[bool]]
) -> None:
    loads(str.upper)
    generation(tmp_path, SelfGenerated(rows=2), "a", "b").get(Silent())
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from harness.training.local.self_generated import SelfGenerated, plan_generation\n"
        "from harness.models.device import DevicePlan\n"
        "from harness.models.progress import Silent\n"
        "from harness.models.source import ModelSource\n"
        "from harness.store.adapters import AdapterStore\n"
        "here, source = Path(sys.argv[1]), ModelSource('tiny', Path('nowhere'), 'd' * 64)\n"
        "plan = DevicePlan('cpu', 'float32', 'eager', 'grouped_eager')\n"
        "spec = SelfGenerated(rows=2, prompts='prompts.txt')\n"
        "rows = plan_generation(spec, here, source, False, plan, AdapterStore(here / 'adapters'))\n"
        "assert len(rows.found()) == len(rows.get(Silent())) == 2 and rows.summary()\n"
        "assert not {'torch', 'transformers', 'trl', 'peft'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


# --------------------------------------------------------------------------- with a model, from end to end
@pytest.fixture
def talker(tiny: ModelSource, tmp_path: Path) -> ModelSource:
    """The tiny model with many end tokens, so that some of its replies end, and some at once.

    They are bytes of no text here: a row that holds an end token cannot be trained on.
    """
    folder = tmp_path / "talker"
    shutil.copytree(tiny.folder, folder)
    config = folder / "generation_config.json"
    pieces = load_tokenizer(tiny).get_vocab()
    beyond_ascii = sorted(pieces[chr(byte)] for byte in range(0xC0, 0xEF))
    ends = [1, *beyond_ascii]
    said = {**json.loads(config.read_text(encoding="utf-8")), "eos_token_id": ends}
    config.write_text(json.dumps(said), encoding="utf-8")
    return ModelSource(str(folder), folder, folder_digest(folder))


@pytest.fixture
def project(talker: ModelSource, tmp_path: Path) -> tuple[Lab, QLoRA]:
    lines = [
        json.dumps({"prompt": f"Order {k} number {k * 7}?", "completion": "On its way."}) for k in range(8)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    words = ("rain", "sun", "order", "refund", "money", "days", "tickets", "system", "user", "late", "way")
    prompts = "\n".join(f"Say something new about {word}." for word in words)
    (tmp_path / "prompts.txt").write_text(prompts, encoding="utf-8")
    spec = QLoRA(
        base=str(talker.folder),
        train="train.jsonl",
        replay=SelfGenerated(rows=5, max_new_tokens=20, prompts="prompts.txt"),
        r=2,
        epochs=1,
    )
    return Lab(tmp_path, AdapterStore(tmp_path / "store"), Silent(), executor=InlineExecutor()), spec


def trained(project: tuple[Lab, QLoRA], size: int, seed: int) -> Training | None:
    lab, spec = project
    return spec.prepare(lab, Variant("tuned", spec, size, seed)).training


def test_all_sizes_and_seeds_train_on_one_generation_by_the_base_as_it_is_trained(
    project: tuple[Lab, QLoRA], talker: ModelSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, spec = project
    load, loaded = LocalModel.load, []

    def counting(*args: object, **kwargs: object) -> LocalModel:
        loaded.append(kwargs)
        return load(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalModel, "load", counting)
    spec.preflight(lab, Variant("tuned", spec, 4, 0))
    assert loaded == []  # to be ready costs no model
    made = [trained(project, size, seed) for size, seed in ((2, 0), (4, 0), (2, 1))]
    assert [(t.rows, t.replay_rows) for t in made if t] == [(2, 5), (4, 5), (2, 5)]
    assert loaded == [{"nf4": True}]  # and no adapter
    assert trained(project, 4, 0) == made[1]

    generated = spec.generated_rows(lab)
    assert generated is not None
    decoding = Decoding(max_new_tokens=20)
    asked = [Prompt(r.id, r.prompt) for r in generated.prompts]
    model = load(talker, lab.plan(), nf4=True)
    own = {a.row_id: a for a in model.answer(asked, decoding, frozenset())}
    rows = spec.data(lab).general
    assert [own[r.id].text for r in rows] == [r.reference for r in rows]
    assert {own[r.id].finish for r in rows} == {"stop"}
    assert [r.id for r in rows] != [p.id for p in generated.prompts[:5]]  # some were left out


def test_the_generated_file_taken_over_as_a_file_is_the_same_training(
    project: tuple[Lab, QLoRA], tmp_path: Path
) -> None:
    lab, spec = project
    made = trained(project, 2, 0)
    generated = spec.generated_rows(lab)
    assert generated is not None
    shutil.copy(generated.file, tmp_path / "general.jsonl")
    taken_over = replace(spec, replay="general.jsonl")
    assert trained((lab, taken_over), 2, 0) == made


# --------------------------------------------------------------------------- leaks and the report
def test_a_prompt_that_stands_in_the_heldout_rows_is_among_those_that_are_compared(
    project: tuple[Lab, QLoRA],
) -> None:
    lab, spec = project
    held = (row("Say something new about money.", "It is late.", id="h1", where="heldout.jsonl:1"),)
    with pytest.raises(LeakError, match=r"prompts\.txt:5 ~ heldout\.jsonl:1 .the same user text"):
        require_no_leaks(spec.data(lab).seen, held)


def test_a_reply_that_makes_a_row_too_like_a_heldout_row_is_refused_before_training(
    project: tuple[Lab, QLoRA], tmp_path: Path, loads: Callable[[Say], list[bool]]
) -> None:
    reply = "the red bus stops at every corner of the old town before noon"
    prompts = [f"Word{k} thing{k} place{k} colour{k} day{k}" for k in range(5)]
    prompts[3] = "Neighbours often ask visitors in summer about what the buses do whenever rain begins"
    (tmp_path / "prompts.txt").write_text("\n".join(prompts), encoding="utf-8")
    loads(lambda text: reply if text == prompts[3] else f"{text} is all that I can say of it")
    asked = "Please tell me and my old friends whatever you know of what the buses do on Sunday afternoons"
    held = (row(asked, reply, id="h1", where="heldout.jsonl:1"),)
    lab, spec = project

    def require_unseen(rows: Sequence[Row]) -> None:
        require_no_leaks(rows, held)

    lab = replace(lab, require_unseen=require_unseen)
    require_no_leaks(spec.data(lab).seen, held)  # the prompts alone are unlike
    with pytest.raises(LeakError, match=r"rows\.jsonl:4 ~ heldout\.jsonl:1 .user text and reply"):
        trained((lab, spec), 2, 0)
    assert lab.adapters.trainings() == ()
    with pytest.raises(LeakError, match=r"rows\.jsonl:4"):  # and from now on, before anything
        require_no_leaks(spec.data(lab).seen, held)


def test_the_report_says_how_many_rows_were_generated_and_where_they_are(
    project: tuple[Lab, QLoRA], tmp_path: Path
) -> None:
    lab, spec = project
    assert spec.notes(lab, Variant("tuned", spec, 2, 0)) == ()
    trained(project, 2, 0)
    (note,) = spec.notes(lab, Variant("tuned", spec, 2, 0))
    assert note.startswith("5 general rows were generated by the base itself; ")
    where = tmp_path / note.partition("They are in ")[2].removesuffix(".")
    assert len(read_rows(where)) == 5
