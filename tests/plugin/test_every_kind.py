"""One contract for every kind of candidate and judge, and for kinds that only this file defines.

The kinds of this file are written as docs/architecture.md says, by somebody who derives from nothing of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
from small_project import SUITE, TARGET, Outcome, SmallProject, jsonl, row, rows

from harness.candidates.base import MEMBERS, require_candidate
from harness.errors import UsageError
from harness.scoring.judges import JUDGE_MEMBERS
from harness.testing.fake_openai import CHAT, running_fake_openai, twin_stats

# pytester forgets what a run was the first to import; these cannot be imported twice
for name in ("openai", "anyio", "httpx2", "httpcore2", "starlette", "uvicorn"):
    import_module(name)

OWN_KINDS = '''
from dataclasses import dataclass
from harness.candidates.base import CostEstimate, Prepared, PricedModel, TrainingEstimate
from harness.data.fingerprints import fingerprint
from harness.models.protocol import Decoding
from harness.records import Answer
from harness.training.rows import TrainingData, draw_rows


class Echo:
    """A model: it says one word."""

    numeric_config = "none"

    def __init__(self, word):
        self.word = word

    def answer(self, prompts, decoding, known):
        for prompt in prompts:
            if prompt.row_id not in known:
                log(prompt.row_id)
                sure = -0.1 * int(prompt.row_id.rpartition("-")[2])
                yield Answer(prompt.row_id, self.word, 1, 1, 0.0, logprob=sure)

    def logprob(self, pairs):
        return [0.0 for _ in pairs]


@dataclass(frozen=True)
class OwnTuning:
    """A trained kind."""

    train: str
    decoding: Decoding = Decoding()
    kind = "own-tuning"
    cost_rank = 4
    model_name = "own"

    def described(self):
        return {"kind": self.kind, "train": self.train}

    def own_baseline(self):
        return self

    def data(self, lab):
        return TrainingData(lab.rows(self.train), lab.shown(self.train))

    def endpoint(self):
        return None

    def redirected(self, url):
        return self

    def preflight(self, lab, variant):
        pass

    def estimate(self, lab, variant):
        prepared = self.prepare(lab, variant)
        return CostEstimate(prepared, TrainingEstimate(prepared.identity, variant.size, is_kept=False))

    def prepare(self, lab, variant):
        drawn = draw_rows(self.data(lab), variant.size, variant.seed)
        name = fingerprint({"rows": [r.id for r in drawn.own], "seed": variant.seed})
        return Prepared("own", name, name, "none", lambda: Echo("yes"), lambda row, prompt: row.prompt)

    def notes(self, lab, variant):
        return ()


@dataclass(frozen=True)
class OwnRetrieval:
    """Rows are looked up and shown to a hosted model; nothing is trained."""

    model: RemoteModel
    corpus: str
    decoding: Decoding = Decoding(max_new_tokens=8)
    kind = "own-retrieval"
    cost_rank = 2

    @property
    def model_name(self):
        return self.model.model

    def described(self):
        return {"kind": self.kind, "model": self.model.described(), "corpus": self.corpus}

    def own_baseline(self):
        return Prompted(model=self.model, decoding=self.decoding)

    def data(self, lab):
        return TrainingData(lab.rows(self.corpus), lab.shown(self.corpus), is_trained=False)

    def endpoint(self):
        return PricedModel(self.model)

    def redirected(self, url):
        return OwnRetrieval(self.model.redirected(url), self.corpus, self.decoding)

    def preflight(self, lab, variant):
        self.model.require_ready()

    def estimate(self, lab, variant):
        return CostEstimate(self.prepare(lab, variant), asked_as=self.model)

    def prepare(self, lab, variant):
        shown = lab.rows(self.corpus)[0].messages
        identity = fingerprint(self.model.identity())
        return Prepared(
            self.model.model, identity, identity, self.model.numeric_config,
            lambda: self.model.open(lab.spending(self.model.model), lab.progress),
            lambda row, prompt: (*shown, *row.prompt), batch_independent=True,
        )

    def notes(self, lab, variant):
        return ("one row is shown.",)
'''

CANDIDATES = """
from harness import ByConfidence, Chain, LoRA, OpenAITuning, Recorded, RemoteModel, Retrieval, Routed
{own}
SERVICE = dict(base_url="{url}", profile="twin", api_key_env="HARNESS_TEST_KEY")
MODEL = RemoteModel("{chat}", **SERVICE)


@harness.candidate
def scripted():
    return Scripted(train="rows.jsonl", reply=says(9), base="scripted")


@harness.candidate
def prompted():
    return Prompted(model=MODEL)


@harness.candidate
def few_shot():
    return FewShot(model=MODEL, train="rows.jsonl", shots=2)


@harness.candidate
def own_prompt():
    return Prompted(model=MODEL, prompt="better.md")


@harness.candidate
def nearest():
    return FewShot(model=MODEL, train="rows.jsonl", shots=2, nearest=True)


@harness.candidate
def retrieval():
    return Retrieval(model=MODEL, docs="handbook", k=2)


@harness.candidate
def retrieved_rows():
    return Retrieval(model=MODEL, docs="rows.jsonl", k=2)


@harness.candidate
def chain():
    return Chain(model=MODEL, steps=("extract.md", "write.md"))


@harness.candidate
def routed():
    return Routed(
        tuned=OwnTuning("rows.jsonl"),
        otherwise=Prompted(model=MODEL),
        route=ByConfidence(dev="dev.jsonl", keep=0.5),
    )


@harness.candidate
def openai():
    return OpenAITuning(base="{chat}", train="rows.jsonl", epochs=1, **SERVICE)


@harness.candidate
def lora():
    return LoRA(base="tiny", train="rows.jsonl", epochs=1, batch_rows=8, r=2, dev_evaluations=1)


@harness.candidate
def recorded():
    return Recorded("answers.jsonl")


@harness.candidate
def own_tuning():
    return OwnTuning("rows.jsonl")


@harness.candidate
def own_retrieval():
    return OwnRetrieval(MODEL, "rows.jsonl")
"""

ECONOMICS = f"""
requests_per_day = 10
served_input_usd_per_mtok = 1
served_output_usd_per_mtok = 1
training_usd_per_hour = 1
[prices."{CHAT}"]
input_usd_per_mtok = 1.0
output_usd_per_mtok = 2.0
source = "a test"
date = "2026-11-20"
[prices."{CHAT}".tuned]
training_usd_per_mtok = 3.0
input_usd_per_mtok = 10.0
output_usd_per_mtok = 20.0
"""


@dataclass(frozen=True)
class Kind:
    """What a kind is expected to be."""

    name: str
    sees_rows: bool = True
    is_trained: bool = False
    is_hosted: bool = False

    def __str__(self) -> str:
        return self.name


SCRIPTED = Kind("scripted", is_trained=True)
PROMPTED = Kind("prompted", sees_rows=False, is_hosted=True)
FEW_SHOT = Kind("few-shot", is_hosted=True)
OWN_PROMPT = Kind("own-prompt", sees_rows=False, is_hosted=True)
NEAREST = Kind("nearest", is_hosted=True)
RETRIEVAL = Kind("retrieval", sees_rows=False, is_hosted=True)
RETRIEVED_ROWS = Kind("retrieved-rows", is_hosted=True)
CHAIN = Kind("chain", sees_rows=False, is_hosted=True)
ROUTED = Kind("routed", is_trained=True, is_hosted=True)
OPENAI = Kind("openai", is_trained=True, is_hosted=True)
RECORDED = Kind("recorded", sees_rows=False)
OWN_TUNING = Kind("own-tuning", is_trained=True)
OWN_RETRIEVAL = Kind("own-retrieval", is_hosted=True)
RUNGS = (PROMPTED, OWN_PROMPT, FEW_SHOT, NEAREST, RETRIEVAL, RETRIEVED_ROWS, CHAIN)
KINDS = (SCRIPTED, *RUNGS, ROUTED, OPENAI, RECORDED, OWN_TUNING, OWN_RETRIEVAL)


TRAINED = tuple(kind for kind in KINDS if kind.is_trained)


def kinds(**facts: bool) -> list[Kind]:
    return [kind for kind in KINDS if all(getattr(kind, name) is value for name, value in facts.items())]


@dataclass
class Contract:
    """A project with every kind, and the service that the hosted ones ask."""

    project: SmallProject
    url: str

    def run(self, kinds: Kind | Iterable[Kind], *more: str) -> Outcome:
        kinds = [kinds] if isinstance(kinds, Kind) else [*kinds]
        # importing what trains takes seconds in each new process
        inline = ["--executor=inline"] if any(kind.name == "lora" for kind in kinds) else []
        return self.project.run(*(f"--candidate={kind}" for kind in kinds), *inline, *more)

    @property
    def requests(self) -> object:
        """What the real service was ever asked."""
        return {name: count for name, count in twin_stats(self.url).items() if count}

    def rows(self, text: str, name: str = "rows.jsonl") -> None:
        self.project.write(name, text)


@pytest.fixture
def contract(project: SmallProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Contract]:
    monkeypatch.setenv("HARNESS_TEST_KEY", "sk-planted-81c2")

    with running_fake_openai(tmp_path / "real") as url:
        project.conftest(CANDIDATES.format(own=OWN_KINDS, url=url, chat=CHAT))
        project.suite(TARGET)
        project.write("suites/economics.toml", ECONOMICS)
        for name in ("extract.md", "write.md"):
            project.write(name, f"Do as {name} says.")
        made = Contract(project, url)
        made.rows(jsonl(rows("own", 30)))
        made.rows(jsonl(rows("aside", 20)), "dev.jsonl")
        answers = [
            {"id": f"support-{n}", "answer": "no", "prompt_tokens": 1, "completion_tokens": 1}
            for n in range(40)
        ]
        made.rows(jsonl([dict(one) for one in answers]), "answers.jsonl")
        made.rows("Say yes or no.", "better.md")
        made.rows("# Support\n\nEvery support question has an answer.\n", "handbook/support.md")
        yield made


@pytest.mark.parametrize("kind", kinds(sees_rows=True), ids=str)
def test_rows_that_stand_in_the_heldout_file_are_refused(contract: Contract, kind: Kind) -> None:
    long = "My parcel number nine was left out in the rain again by the same driver on"
    days = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    held = [row(f"held-{k}", f"{long} {day}") for k, day in enumerate(days * 6)]
    contract.project.suite(TARGET, held=[*held[:7], *rows("support", 33)])
    contract.rows(jsonl([*held[:7], *rows("own", 23)]))
    contract.run(kind).assert_one_screen("are also in the held-out rows")
    assert contract.requests == {}


@pytest.mark.parametrize("kinds", [KINDS], ids=["every"])
def test_sizes_and_seeds_are_for_what_is_trained(contract: Contract, kinds: Sequence[Kind]) -> None:
    contract.run(kinds, "--sizes=10,20", "--train-seeds=0,1")
    record = contract.project.record
    paid_for = {one.candidate.partition("@")[0]: one.rows_used for one in record.economics}
    # what each pays for: rows that it learnt, all that it can look up, those that a prompt shows
    used = {"few-shot": 2, "own-retrieval": 30, "prompted": None, "chain": 0, "recorded": None}
    used |= {"own-prompt": 0, "nearest": 30, "retrieval": 0, "retrieved-rows": 30}
    for kind in kinds:
        tried = [(t.size, t.seed) for t in record.trials if t.candidate == str(kind)]
        expected = [(10, 0), (10, 1), (20, 0), (20, 1)] if kind.is_trained else [(None, None)]
        assert tried == expected, kind
        assert paid_for[str(kind)] == used.get(str(kind), 20), kind


@pytest.mark.parametrize("kind", kinds(is_trained=True), ids=str)
def test_a_size_beyond_the_rows_is_refused(contract: Contract, kind: Kind) -> None:
    contract.run(kind, "--sizes=31").assert_one_screen("--sizes: 31 rows asked for, and rows.jsonl has 30")


def test_a_seed_that_was_chosen_among_several_is_no_go(contract: Contract) -> None:
    """Also where the same rows were given another name, or another order."""
    contract.run(TRAINED, "--train-seeds=0")
    assert judged_before(contract) == dict.fromkeys(map(str, TRAINED), "")
    contract.run(TRAINED, "--train-seeds=1")
    assert judged_before(contract) == dict.fromkeys(map(str, TRAINED), "0")
    conftest = contract.project.path / "conftest.py"
    conftest.write_text(conftest.read_text().replace("rows.jsonl", "rows-v2.jsonl"))
    contract.rows(jsonl(rows("own", 30)[::-1]), "rows-v2.jsonl")
    contract.run(TRAINED, "--train-seeds=2")
    assert judged_before(contract) == dict.fromkeys(map(str, TRAINED), "0, 1")
    contract.rows(jsonl(rows("other", 30)), "rows-v2.jsonl")
    contract.run(TRAINED, "--train-seeds=3")
    assert judged_before(contract) == dict.fromkeys(map(str, TRAINED), "")


def judged_before(contract: Contract) -> dict[str, str]:
    """By candidate, at which seeds its recipe is said to have been judged before."""
    said = re.compile(r"has judged this recipe at seed ([\d, ]+) before")
    told = {d.candidate: said.findall(" ".join(d.reasons)) for d in contract.project.record.decisions}
    return {name: "".join(found) for name, found in told.items()}


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_plan_names_it_with_its_price_and_sends_nothing(contract: Contract, kind: Kind) -> None:
    outcome = contract.run(kind, "--plan")
    assert outcome.status == 0, outcome.said
    assert str(kind) in outcome.out
    assert ("dollars: $" in outcome.out) is kind.is_hosted
    assert contract.requests == {}
    assert contract.project.asked == []


def test_a_rehearsal_sends_nothing_to_the_service(contract: Contract) -> None:
    outcome = contract.run(kinds(is_hosted=True), "--rehearse")
    assert outcome.status in (0, 1), outcome.said
    record = contract.project.record
    assert record.rehearsal
    assert {t.candidate for t in record.trials} >= {str(kind) for kind in kinds(is_hosted=True)}
    assert all(a.failure is None for t in record.trials for a in t.answers)
    assert contract.requests == {}


@pytest.mark.parametrize("kind", kinds(is_hosted=False), ids=str)
def test_there_is_nothing_to_rehearse_where_nothing_is_hosted(contract: Contract, kind: Kind) -> None:
    contract.run(kind, "--rehearse").assert_one_screen("there is nothing to rehearse")


@pytest.mark.parametrize("kinds", [KINDS], ids=["every"])
def test_what_was_made_and_answered_is_found_again(contract: Contract, kinds: Sequence[Kind]) -> None:
    assert contract.run(kinds).status in (0, 1)
    first, asked, requests = contract.project.record, len(contract.project.asked), contract.requests
    assert {d.candidate for d in first.decisions} == set(map(str, kinds))
    assert contract.run(kinds).status in (0, 1)
    assert len(contract.project.asked) == asked
    assert contract.requests == requests
    assert contract.project.record.decisions == first.decisions


@pytest.mark.slow
def test_a_fine_tune_of_this_machine_keeps_the_contract(
    contract: Contract, request: pytest.FixtureRequest
) -> None:
    """Real weights, the tiny ones: refused for a leak, sized, planned, trained in a process, found again."""
    from tiny_llama import build_source

    for library in ("bitsandbytes", "peft", "transformers", "datasets", "trl"):
        import_module(library)  # see above
    build_source(contract.project.path / "tiny")
    kind = Kind("lora", is_trained=True)
    test_rows_that_stand_in_the_heldout_file_are_refused(contract, kind)
    contract.project.suite(TARGET)
    contract.rows(jsonl(rows("own", 30)))
    test_the_plan_names_it_with_its_price_and_sends_nothing(contract, kind)
    test_sizes_and_seeds_are_for_what_is_trained(contract, [kind])
    test_what_was_made_and_answered_is_found_again(contract, [kind])


# --------------------------------------------------------------------------- kinds that are not whole
@pytest.mark.parametrize("member", MEMBERS)
def test_a_candidate_that_lacks_something_is_refused_by_name(member: str) -> None:
    whole = {name: None for name in MEMBERS if name != member}
    with pytest.raises(UsageError, match=rf"conftest.py:3: Mine lacks {member} of a candidate"):
        require_candidate(type("Mine", (), whole)(), "conftest.py:3")


def test_a_candidate_that_is_not_redirected_is_not_rehearsed(contract: Contract) -> None:
    conftest = contract.project.path / "conftest.py"
    stays = conftest.read_text().replace(
        "return OwnRetrieval(self.model.redirected(url)", "return OwnRetrieval(self.model"
    )
    conftest.write_text(stays)
    contract.run(OWN_RETRIEVAL, "--rehearse").assert_one_screen(
        "OwnRetrieval asks a hosted model", "redirected(url)"
    )
    assert contract.requests == {}


def test_an_own_baseline_that_asks_the_service_is_redirected_too(contract: Contract) -> None:
    contract.project.run("--candidate=own-retrieval", "--rehearse", baseline="")
    assert contract.project.record.rehearsal
    assert contract.requests == {}


# --------------------------------------------------------------------------- judges
JUDGES = '''
from dataclasses import dataclass, replace
from harness import Pairwise, Panel, RemoteModel, Rubric
from harness.records import Admission, Kind, Message, Rate, Score
from harness.scoring.judges import JudgeEstimate

MODEL = RemoteModel("{chat}", base_url="{url}", profile="twin", api_key_env="HARNESS_TEST_KEY")
SCHEMA = {{
    "type": "object", "properties": {{"score": {{"type": "integer"}}}}, "required": ["score"],
    "additionalProperties": False,
}}


@dataclass(frozen=True)
class Sole:
    """A judge of the project's own; it derives from nothing."""

    model: RemoteModel
    name: str = "own"
    kind = Kind.BINARY
    trust = "transfer"

    def spec(self):
        return {{"check": "Sole", "model": dict(self.model.identity())}}

    def bind(self, read):
        return self

    def require_ready(self, oracle):
        oracle.grader(self.model, SCHEMA, 50)

    def calibrated(self, oracle):
        return Sworn(self)

    def question(self, row, answer):
        return (Message("user", f"grade {{row.id}}: {{answer}}"),)

    def estimate(self, rows):
        prompts = [self.question(row, "") for row in rows]
        return JudgeEstimate(self.model, (), prompts, [row.reference for row in rows], max_tokens=50)

    def redirected(self, url):
        return replace(self, model=self.model.redirected(url))


@dataclass(frozen=True)
class Sworn:
    judge: Sole

    @property
    def name(self):
        return self.judge.name

    @property
    def admission(self):
        one = Rate(1.0, 0.9, 1.0, 50)
        return Admission("own", True, one, one, one, 0.5, 50, 50, ())

    def score_many(self, rows, answers, oracle):
        grader = oracle.grader(self.judge.model, SCHEMA, 50)
        said = grader.ask([self.judge.question(row, answer.text) for row, answer in zip(rows, answers)])
        return tuple(Score(float(isinstance(one, str) and "1" in one)) for one in said)


own = Sole(MODEL)
rubric = Rubric(MODEL, "It says yes.", labels="labels.jsonl", name="rubric")
pair = Pairwise(MODEL, "It is better.", labels="pairs.jsonl", name="pair")
jury = Panel((pair, replace(pair, criteria="It is kinder.", name="kind")), name="jury")
'''
OWN = """
def test_own(candidate, baseline):
    assert candidate.scores(own) > baseline.scores(own)
"""
OTHERS = """
def test_rubric(candidate, baseline):
    assert candidate.scores(rubric) > baseline.scores(rubric)


def test_jury(candidate, baseline):
    assert candidate.preferred(jury) > 0.5
"""


@pytest.fixture
def judged(contract: Contract) -> Contract:
    """One suite with a judge of the project's own, a rubric, and a panel of pairwise ones."""
    text = SUITE.replace("scores=(right,)", "scores=(right, own, rubric, jury)")
    contract.project.suite(JUDGES.format(chat=CHAT, url=contract.url) + OWN + OTHERS, head=text)
    pairs = [
        {"message": f"m {k}", "first": f"one {k}", "second": f"two {k}", "label": ("first", "second")[k % 2]}
        for k in range(20)
    ]
    contract.project.write("suites/support/pairs.jsonl", jsonl(pairs))  # type: ignore[arg-type]
    labels = [
        {"message": f"m {k}", "reference": "yes", "reply": f"reply {k}", "label": ("bad", "good")[k % 2]}
        for k in range(40)
    ]
    contract.project.write("suites/support/labels.jsonl", jsonl(labels))  # type: ignore[arg-type]
    return contract


def test_a_judge_is_in_the_plan_with_its_price_and_sends_nothing(judged: Contract) -> None:
    outcome = judged.run(SCRIPTED, "--plan")
    assert outcome.status == 0, outcome.said
    for judge in ("own", "rubric", "jury"):
        assert f"judge support/{judge}" in outcome.out
    assert "judging $" in outcome.out
    assert judged.requests == {}


def test_a_judge_sends_nothing_to_the_service_in_a_rehearsal(judged: Contract) -> None:
    outcome = judged.run(SCRIPTED, "--rehearse")
    assert judged.requests == {}
    assert judged.project.record.rehearsal, outcome.said
    assert {gate.test.rpartition("::")[2] for gate in judged.project.record.gates} >= {
        "test_own",
        "test_rubric",
        "test_jury",
    }


def test_judgments_are_found_again(judged: Contract) -> None:
    judged.run(SCRIPTED)
    requests = judged.requests
    assert requests
    judged.run(SCRIPTED)
    assert judged.requests == requests


@pytest.mark.parametrize("member", sorted(set(JUDGE_MEMBERS) - {"calibrated"}))
def test_a_judge_that_lacks_something_is_refused_by_name(contract: Contract, member: str) -> None:
    """A judge of the time before plans and rehearsals asked it would be in neither."""
    text = SUITE.replace("scores=(right,)", "scores=(right, own)")
    body = JUDGES.format(chat=CHAT, url=contract.url) + OWN
    for line in (f"    def {member}(", f"    {member}:", f"    {member} ="):
        body = body.replace(line, line.replace(member, f"{member}_"), 1)
    contract.project.suite(body, head=text)
    outcome = contract.run(SCRIPTED, "--rehearse")
    assert outcome.status != 0
    assert contract.requests == {}
    assert (
        f"Sole lacks {member}" in outcome.said or f"'Sole' object has no attribute '{member}'" in outcome.said
    )
