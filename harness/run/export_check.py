"""An exported fine-tune held against its trial: the same prompts, and near enough the same scores."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import TypeAlias

from harness.data.files import read_text
from harness.data.fingerprints import bytes_digest, fingerprint, rows_fingerprint
from harness.errors import DataError
from harness.models.chat_format import Chat
from harness.models.protocol import AnswerSchema, Decoding, Model, Prompt, Tools
from harness.models.source import ModelSource
from harness.records import Answer, Json, RunRecord, Trial
from harness.run.judge_check import suite_at
from harness.run.suite_loading import LoadedSuite
from harness.scoring.checks import score_all
from harness.scoring.envelope import read_answer
from harness.scoring.judges import Judge

NEAR = 0.1  # a check agrees on a row where its two scores lie this near each other
# Rounding moves the score of one row in 20 at most; a sample with more rows moved than that gives with the
# chance of LEVEL is refused. Measured on the example: 0 to 2 of 100 rows of each check.
MOVED_BY_ROUNDING, LEVEL = 0.05, 0.05
RULE = (
    "the exported tokenizer renders every prompt to the bytes and tokens that the trial's answers were given"
    f" to; and on the sample no check moves by more than {NEAR:g} on more rows than rounding does with a"
    f" chance of {LEVEL:.0%}, where it moves {MOVED_BY_ROUNDING:.0%} of them (3 of 20, 9 of 100). Where"
    " answers are drawn, their means lie within two standard errors"
)


@dataclass(frozen=True)
class Checked:
    """One suite's sample, asked of the artifact; see ``RULE``."""

    suite: str
    by: str  # what was asked: the plain library, or a server's address
    prompts: int  # that were rendered
    other_prompts: int | None  # that came out otherwise; None: a server does not say
    rows: int  # asked again
    same_text: int
    agree: Mapping[str, tuple[int, float, float]]  # by check: rows that agree, the trial's mean, and now
    problems: tuple[str, ...]  # what breaks the rule, in words
    digest: str = ""  # of all prompts of the suite, as text

    @property
    def told(self) -> str:
        """What came of it, as a sentence."""
        checks = "; ".join(
            f"{name} on {near} of {self.rows} (mean {then:.3f}, now {now:.3f})"
            for name, (near, then, now) in self.agree.items()
        )
        equal = (
            "" if self.other_prompts is None else f"{self.prompts - self.other_prompts} of {self.prompts} "
        )
        prompts = (
            f"{equal}prompts equal to the byte" if equal else "prompts have the trial's number of tokens"
        )
        return (
            f"{self.suite}, {self.by}: {prompts}; of {self.rows} rows asked again, {self.same_text} answers"
            f" are the same; scores agree: {checks or 'none but judges, which are not asked'}"
        )


@dataclass(frozen=True)
class Asked:
    """A suite with the prompts and answers of the trial."""

    suite: LoadedSuite
    trial: Trial
    prompts: tuple[Prompt, ...]  # in the order of the suite's rows
    decoding: Decoding


def asked_again(record: RunRecord, trial: Trial, root: Path) -> Asked:
    """What a suite asked in a trial, from the project's files.

    Raises:
        DataError: they are not those of the run any more.
    """
    info = next(suite for suite in record.suites if suite.name == trial.suite)
    tests = [gate.test.partition("::")[0] for gate in record.gates if gate.suite == trial.suite]
    suite = suite_at(root / (tests[0] if tests else Path(info.heldout).parent), root)
    if suite.heldout != info.heldout and suite.suite.final is not None:
        suite = suite_at(suite.folder, root, final=True)
    if rows_fingerprint(suite.rows) != info.heldout_digest:
        raise DataError(
            info.heldout,
            f"its rows are not those that {trial.label} was evaluated on",
            "restore the file from version control, or run the suites again",
        )
    spec = next(one.spec for one in record.candidates if one.name == trial.candidate)
    ids = {answer.row_id for answer in trial.answers}
    prompts = tuple(Prompt(row.id, row.prompt, tools=Tools.of(row)) for row in suite.rows if row.id in ids)
    return Asked(suite, trial, prompts, _decoding(trial.decoding, spec.get("schema"), root))


def _decoding(settings: Mapping[str, Json], schema: Json, root: Path) -> Decoding:
    plain = {name: value for name, value in settings.items() if name != "schema"}
    bound = settings.get("schema")
    if not isinstance(bound, Mapping):
        return Decoding(**plain)  # type: ignore[arg-type]  # its own settings
    name = str(bound["name"])
    document = schema if isinstance(schema, Mapping) else json.loads(read_text(root / name, ".json"))
    text = json.dumps(document, ensure_ascii=False)
    if fingerprint(text) != bound["digest"]:
        raise DataError(name, "this schema is not the one that the run's answers were bound to", "restore it")
    return Decoding(**plain, schema=AnswerSchema(text, name))  # type: ignore[arg-type]


def check_artifact(
    asked: Asked, chat: Chat, by: str, model: Model, exported: ModelSource | None, rows: int
) -> Checked:
    """Ask a sample of a suite's rows, and hold prompts and scores against the trial's.

    Args:
        asked: the suite, and the trial.
        chat: the base's template as the trial was asked with it.
        by: what answers, in words.
        model: it.
        exported: where its tokenizer lies; None where it is a server's, of which only the number of tokens
            is known.
        rows: how many to ask.
    """
    texts = [chat.prompt(prompt.messages, prompt.tools) for prompt in asked.prompts]
    tokens = chat.ids(texts)
    others = [] if exported is None else list(_other_prompts(asked.prompts, texts, tokens, exported))
    places = sorted(random.Random(0).sample(range(len(texts)), min(rows, len(texts))))
    sample = [asked.prompts[place] for place in places]
    came = {answer.row_id: answer for answer in model.answer(sample, asked.decoding, frozenset())}
    kept = asked.suite.kept_tags
    now = [read_answer(replace(came[p.row_id], row_id=p.row_id), kept) for p in sample]
    at = {answer.row_id: place for place, answer in enumerate(asked.trial.answers)}
    then = [asked.trial.answers[at[prompt.row_id]] for prompt in sample]
    problems = []
    if others:
        problems.append(f"{len(others)} of {len(texts)} prompts are not the trial's (first: row {others[0]})")
    for place, answer, old in zip(places, now, then, strict=True):
        counts = {len(tokens[place]), answer.prompt_tokens, old.prompt_tokens} - {None}
        if len(counts) > 1 and answer.failure is None:
            told = f"{answer.prompt_tokens} tokens where the trial's had {old.prompt_tokens}"
            problems.append(f"the prompt of row {answer.row_id} has {told}")
            break
    agree = dict(_agreement(asked, sample, now, at))
    problems += _disagreements(asked, agree, len(sample), [a.failure for a in now if a.failure])
    return Checked(
        asked.suite.name,
        by,
        len(texts),
        None if exported is None else len(others),
        len(sample),
        sum(a.text == b.text for a, b in zip(now, then, strict=True)),
        {name: (near, mean(old), mean(new)) for name, (near, old, new) in agree.items()},
        tuple(problems),
        bytes_digest("\0".join(texts).encode("utf-8", "surrogatepass")),
    )


Pair: TypeAlias = tuple[int, list[float], list[float]]


def _agreement(
    asked: Asked, sample: Sequence[Prompt], now: Sequence[Answer], at: Mapping[str, int]
) -> Iterator[tuple[str, Pair]]:
    """For each check that is no judge: rows that agree, and the scores of then and now; a failure is 0."""
    rows = {row.id: row for row in asked.suite.scored_rows}
    for score in asked.suite.scores:
        if isinstance(score, Judge):
            continue
        new = [one.value for one in score_all(score, [rows[prompt.row_id] for prompt in sample], now)]
        old = [asked.trial.scores[score.name][at[prompt.row_id]].value for prompt in sample]
        pairs = list(zip(old, new, strict=True))
        near = sum(a == b or (a is not None and b is not None and abs(a - b) <= NEAR) for a, b in pairs)
        yield score.name, (near, [a or 0.0 for a in old], [b or 0.0 for b in new])


def _disagreements(asked: Asked, agree: Mapping[str, Pair], n: int, failures: Sequence[str]) -> Iterator[str]:
    for name, (near, old, new) in agree.items():
        if disagreement(near, old, new, asked.decoding.temperature):
            means = f"mean {mean(old):.3f} before and {mean(new):.3f} now"
            because = f"; {len(failures)} answers failed: {failures[0]}" if failures else ""
            yield f"{name} agrees on {near} of {n} rows, {means}{because}"


def disagreement(near: int, old: Sequence[float], new: Sequence[float], temperature: float) -> bool:
    """Whether a check's scores, of which ``near`` agree, differ by more than ``RULE`` has it."""
    n = len(old)
    if temperature > 0:
        differences = [b - a for a, b in zip(old, new, strict=True)]
        return abs(mean(new) - mean(old)) > 2 * (stdev(differences) / sqrt(n) if n > 1 else 1.0)
    from scipy.stats import binom  # takes a second to import

    return float(binom.sf(n - near - 1, n, MOVED_BY_ROUNDING)) < LEVEL


def _other_prompts(
    prompts: Sequence[Prompt], texts: Sequence[str], tokens: Sequence[list[int]], exported: ModelSource
) -> Iterator[str]:
    """Ids of rows whose prompt the exported tokenizer renders or splits otherwise."""
    from harness.models.chat import TurnsError, load_tokenizer
    from harness.models.shipped_template import plainly_rendered

    tokenizer = load_tokenizer(exported)
    for prompt, text, ids in zip(prompts, texts, tokens, strict=True):
        try:
            plain = plainly_rendered(tokenizer, prompt)
        except TurnsError:
            plain = ""
        if plain != text or tokenizer(plain, add_special_tokens=False)["input_ids"] != ids:
            yield prompt.row_id
