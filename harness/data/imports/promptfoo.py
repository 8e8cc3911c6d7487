"""promptfoo: configurations with their tests, and the results of ``promptfoo eval -o``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product

from harness.data.findings import Unusable
from harness.data.imports.turns import Turn, as_text, chat, listed, mapping
from harness.data.rows import parse_json
from harness.records import Json


def is_config(value: Mapping[str, Json]) -> bool:
    """Whether the object is a configuration."""
    return "tests" in value and ("prompts" in value or "providers" in value)


def cases(config: Mapping[str, Json]) -> Iterator[Json]:
    """Each of a configuration's tests with its first prompt; more prompts would ask the same again.

    Raises:
        Unusable: prompts or tests stand in other files, or in code.
    """
    prompts, tests, common = config.get("prompts"), config.get("tests"), config.get("defaultTest")
    first = prompts[0] if isinstance(prompts, list) and prompts else prompts
    text = first.get("raw", first.get("label")) if isinstance(first, dict) else first
    if not isinstance(text, str) or text.startswith("file://") or text.endswith((".txt", ".json", ".py")):
        raise Unusable("no-messages", "its prompts stand in other files", _HINT, ends_file=True)
    if not isinstance(tests, list) or not all(isinstance(test, dict) for test in tests):
        raise Unusable("no-messages", "its tests stand in other files", _HINT, ends_file=True)
    base = mapping(common)
    for test in map(mapping, tests):
        given = {**mapping(base.get("vars")), **mapping(test.get("vars"))}
        asserts = [*listed(base.get("assert")), *listed(test.get("assert"))]
        lists = [value if isinstance(value, list) else [value] for value in given.values()]
        for values in product(*lists):  # promptfoo asks for every combination of listed values
            yield {"prompt": text, "vars": dict(zip(given, values, strict=True)), "assert": asserts}


def case_row(case: Mapping[str, Json]) -> Turn:
    """The row of a test: its prompt with its variables, and the reply that an ``equals`` demands."""
    given = mapping(case["vars"])
    asked = _prompt(str(case["prompt"]))  # first, since a value may hold quotes
    if isinstance(asked, list):
        turns = [{**mapping(turn), "content": _filled(mapping(turn).get("content"), given)} for turn in asked]
        return chat(turns, _expected(case["assert"], given))
    return chat(_filled(asked, given), _expected(case["assert"], given))


def results(value: Mapping[str, Json]) -> Iterator[Json]:
    """Each result of a file of results, or the one of a line."""
    inner = value.get("results")
    if inner is None:
        yield value
    else:
        yield from listed(inner.get("results") if isinstance(inner, dict) else inner)


def is_results(value: Mapping[str, Json]) -> bool:
    """Whether the object is a file of results or one of its lines."""
    found = next(results(value), None) if "results" in value or "testIdx" in value else None
    return isinstance(found, dict) and {"prompt", "response", "success"} <= found.keys()


def result_row(result: Mapping[str, Json]) -> Turn:
    """The row of a result: what its test demands, else the reply, if it passed the test."""
    prompt, response, test = (mapping(result.get(key)) for key in ("prompt", "response", "testCase"))
    asked = _prompt(str(prompt.get("raw", "")))
    try:
        return chat(asked, _expected(test.get("assert"), mapping(result.get("vars"))))
    except Unusable:
        if result.get("success") is not True:
            raise Unusable("no-assistant", "a reply that failed its test", _HINT) from None
        return chat(asked, as_text(response.get("output")))


_HINT = "give the results of `promptfoo eval -o results.json`, which hold prompts and replies"


def _expected(asserts: Json, given: Mapping[str, Json]) -> str:
    for check in listed(asserts):
        stated = mapping(check)
        if stated.get("type") == "equals" and "transform" not in stated:  # a part of it would be no reply
            return _filled(stated.get("value"), given)
    raise Unusable("no-assistant", "a test without `equals`: it does not say the right reply", _HINT)


def _filled(template: Json, given: Mapping[str, Json]) -> str:
    """``{{name}}`` replaced by its value. Templates in data are not evaluated: others stay as they are."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in given:
            raise Unusable("no-messages", f"the prompt's {match[0]} is not among the variables", _HINT)
        return as_text(given[match[1]])

    return re.sub(r"\{\{-?\s*([\w.-]{1,100})\s*-?\}\}", value, as_text(template))


def _prompt(text: str) -> Json:
    """Messages where the prompt is written as JSON messages, else the text."""
    try:
        value = parse_json(text) if text.lstrip().startswith("[") else text
    except Unusable:
        return text
    return value if isinstance(value, list) and all(isinstance(turn, dict) for turn in value) else text
