"""Files that other tools wrote are read by their content; what cannot be used is counted and named."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from harness.data.imports import Imported, import_rows
from harness.errors import DataError

FILES = Path(__file__).parent / "imports"


def said(found: Imported) -> list[tuple[str, str]]:
    """Question and reply of each row."""
    return [(row.question, row.reference) for row in found.rows]


@pytest.mark.parametrize(
    ("name", "form", "rows", "first"),
    [
        ("openai-evals.jsonl", "OpenAI Evals", 8, ("Монгол улсын нийслэл юу вэ?", "Улаанбаатар")),
        ("inspect.json", "an Inspect log", 1, (None, "Yes")),
        ("inspect.eval", "an Inspect log", 10, (None, "Yes")),
        ("inspect-choices.eval", "an Inspect log", 1, (None, "ANSWER: A")),
        ("langfuse-trace.json", "Langfuse", 1, (None, None)),
        ("langfuse-observations.jsonl", "Langfuse", 2, (None, "Hello World!")),
        ("otel.jsonl", "OpenTelemetry GenAI spans", 5, ("We need a quote for 40 seats.", "sales")),
        ("promptfoo.yaml", "a promptfoo configuration", 1, ("We need a quote for 40 seats.", "sales")),
        ("promptfoo-results.json", "promptfoo results", 2, ("We need a quote for 40 seats.", "sales")),
        ("promptfoo-results.jsonl", "promptfoo results", 2, ("We need a quote for 40 seats.", "sales")),
        ("lm-eval-generate.jsonl", "lm-eval samples", 6, (None, "sales")),
        ("lm-eval-choice.jsonl", "lm-eval samples", 6, (None, "sales")),
    ],
)
def test_reads_what_the_tool_wrote(
    name: str, form: str, rows: int, first: tuple[str | None, str | None]
) -> None:
    found = import_rows(FILES / name)
    assert (found.form, len(found.rows)) == (form, rows)
    question, reply = said(found)[0]
    assert first[0] in (None, question)
    assert first[1] in (None, reply)


def test_spans_know_their_conversation_time_and_system_message() -> None:
    found = import_rows(FILES / "otel.jsonl")
    assert found.rows[0].instructions == "Sort the message."
    assert [row.metadata["conversation"] for row in found.rows] == ["c1", "c2", "c3", "c4", "c4"]
    assert len(found.rows[4].turns) == 3  # the second turn holds the first
    assert all(isinstance(row.metadata["time"], float) for row in found.rows)
    assert sum(found.left_out.values()) == 4  # a failed call, two without a tool's definition, an image


def test_calls_of_tools_that_nobody_defined_are_left_out() -> None:
    with pytest.raises(DataError, match="Langfuse without a usable row"):
        import_rows(FILES / "langfuse-tools.json")


def test_examples_among_system_messages_are_turns() -> None:
    few_shot = import_rows(FILES / "openai-evals.jsonl").rows[-1]
    roles = [message.role for message in few_shot.messages]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user", "assistant"]
    assert few_shot.reference == "Season 11"  # the first of several right ones


def test_output_items_of_the_evals_api_as_its_sdk_has_them(tmp_path: Path) -> None:
    from openai.types.evals.runs import OutputItemListResponse

    item = OutputItemListResponse.model_validate(
        {
            "id": "outputitem_1",
            "object": "eval.run.output_item",
            "created_at": 1743092076,
            "run_id": "evalrun_1",
            "eval_id": "eval_1",
            "status": "pass",
            "datasource_item_id": 5,
            "datasource_item": {"headline": "Stocks rally"},
            "results": [],
            "sample": {
                "input": [
                    {"role": "developer", "content": "Sort."},
                    {"role": "user", "content": "Stocks rally"},
                ],
                "output": [{"role": "assistant", "content": "Markets"}],
                "finish_reason": "stop",
                "model": "gpt-4o-mini",
                "max_completion_tokens": 100,
                "seed": 1,
                "temperature": 1.0,
                "top_p": 1.0,
                "error": {"code": "", "message": ""},
                "usage": {"cached_tokens": 0, "completion_tokens": 1, "prompt_tokens": 9, "total_tokens": 10},
            },
        }
    )
    passed = item.model_dump(mode="json")
    failed = {**passed, "id": "outputitem_2", "status": "fail"}
    path = tmp_path / "page.json"
    path.write_text(json.dumps({"object": "list", "data": [passed, failed]}))
    found = import_rows(path)
    assert said(found) == [("Stocks rally", "Markets")]
    assert found.rows[0].instructions == "Sort."
    assert sum(found.left_out.values()) == 1


PROMPTFOO = """
prompts:
  - "Reply with sales, support or billing.\\nMessage: {{ message }}"
providers: [openai:gpt-4.1]
tests:
  - vars: {message: We need a quote for 40 seats.}
    assert: [{type: equals, value: sales}]
  - vars: {message: [The export button does nothing., I cannot sign in.]}
    assert: [{type: latency, threshold: 5000}, {type: equals, value: support}]
  - vars: {message: "Do schools get a discount?"}
    assert: [{type: contains, value: discount}]
  - vars: {message: You charged my card twice., label: billing}
    assert: [{type: equals, value: "{{label}}"}]
  - vars: {message: "Is it up?"}
    assert: [{type: equals, value: yes}]
  - vars: {message: "Is it down?"}
    assert: [{type: equals, value: support, transform: output.team}]
"""


def test_promptfoo_configurations_give_the_tests_that_say_the_reply(tmp_path: Path) -> None:
    path = tmp_path / "promptfooconfig.yaml"
    path.write_text(PROMPTFOO)
    found = import_rows(path)
    assert [reply for _, reply in said(found)] == ["sales", "support", "support", "billing", "yes"]
    assert (
        said(found)[0][0] == "Reply with sales, support or billing.\nMessage: We need a quote for 40 seats."
    )
    assert found.left_out == {"a test without `equals`: it does not say the right reply": 2}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"weights": [1]}\n', "a.jsonl:1: an object of no known form (its keys: weights)"),
        ("a.jsonl", '{"doc_id": 1, "arguments": {}, "target": "x"}\n{"doc_id": 2, "arg\n', "a.jsonl:2"),
        ("a.json", '{\n "eval": {},\n "samples": [\n  {"id": 1},,\n ]\n}\n', "a.json:4"),
        ("a.json", "[]", "has no rows"),
        ("a.jsonl", '{"resourceSpans": []}\n', "without a usable row (it is empty)"),
        ("a.yaml", "prompts: [a]\ntests: [*x]\n", "a.yaml:2: not YAML"),
        ("a.yaml", "- a\n", "no YAML mapping"),
        ("a.yaml", "prompts: file://p.txt\ntests: []\n", "its prompts stand in other files"),
        ("a.yaml", "tests: &t [*t]\nprompts: [a]\n", "recursion"),
        ("a.yaml", "prompts: [!!python/object/apply:os.system [id]]\ntests: []\n", "not YAML"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        import_rows(path)
    assert message in str(caught.value)
    assert "hint: " in str(caught.value)


def test_endless_references_are_no_million_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.data.imports.yaml_text.MOST_VALUES", 10_000)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 10)]
    path = tmp_path / "a.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match="make a million values"):
        import_rows(path)


def archive(path: Path, members: dict[str, bytes], states: int | None = None) -> Path:
    """A zip of members; ``states`` is the size that it says each has, where that is a lie."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    content = buffer.getvalue()
    if states is not None:
        for size in {len(content) for content in members.values()}:
            content = content.replace(size.to_bytes(4, "little"), states.to_bytes(4, "little"))
    path.write_bytes(content)
    return path


SAMPLE = json.dumps({"id": 1, "input": "2 + 2?", "target": "4"}).encode()


def test_names_in_an_archive_lead_nowhere(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.eval", {"samples/../../evil.json": SAMPLE, "/samples/b.json": SAMPLE})
    assert said(import_rows(path)) == [("2 + 2?", "4")]
    assert [one.name for one in tmp_path.iterdir()] == ["a.eval"]


@pytest.mark.parametrize("states", [None, 100])
def test_an_archive_that_swells_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, states: int | None
) -> None:
    monkeypatch.setattr("harness.data.imports.inspect_logs.MOST_BYTES", 10_000)
    path = archive(tmp_path / "a.eval", {"samples/a.json": b" " * 1_000_000}, states)
    with pytest.raises(DataError, match=r"too large|cannot be read|larger than"):
        import_rows(path)


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="without a usable row"):
        import_rows(archive(tmp_path / "a.eval", {"word/document.xml": b"<x/>"}))


def test_chat_rows_are_read_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "c"}\n')
    with pytest.raises(DataError, match=r"rows.jsonl:2: no 'completion'"):
        import_rows(path)


def test_two_rows_of_one_id_are_both_kept_and_the_same_one_is_not(tmp_path: Path) -> None:
    sample = {"doc_id": 1, "arguments": [["q", "a"]], "target": "a"}
    path = tmp_path / "samples.jsonl"
    other = {**sample, "target": "b"}
    path.write_text("\n".join(map(json.dumps, [sample, {**sample, "filter": "none"}, other])))
    found = import_rows(path)
    assert said(found) == [("q", "a"), ("q", "b")]
    assert len({row.id for row in found.rows}) == 2
    assert found.left_out == {"the same once more": 1}
