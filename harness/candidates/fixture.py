"""The decorator that turns a function in conftest.py into a candidate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.candidates.base import Candidate

MARK = "__harness_candidate__"
Function = ParamSpec("Function")
Made = TypeVar("Made", bound="Candidate")


@overload
def candidate(function: Callable[Function, Made], /) -> Callable[Function, Made]: ...


@overload
def candidate(
    *, params: Mapping[str, object] | Sequence[object]
) -> Callable[[Callable[Function, Made]], Callable[Function, Made]]: ...


def candidate(
    function: Callable[..., Any] | None = None,
    /,
    *,
    params: Mapping[str, object] | Sequence[object] | None = None,
) -> Callable[..., Any]:
    """Make ``function`` a candidate: a session fixture of pytest, under its name.

    It answers to the function's name with hyphens: ``qlora_r16`` is ``--candidate=qlora-r16``. As any fixture
    it serves the folder of its conftest, overrides one of the same name further out, and may ask for other
    fixtures of session scope. It is called while tests are collected.

        @harness.candidate(params={"r8": 8, "r16": 16})
        def qlora(request):
            return QLoRA(base="smollm2-135m", train="train.jsonl", r=request.param)

    Args:
        function: returns the candidate.
        params: values for ``request.param``, one candidate each: ``qlora-r8`` and ``qlora-r16`` above. Values
            without names are named by their text, or by the id of a ``pytest.param``.

    Raises:
        UsageError: there are no parameters, two have one name, or one has marks.
    """
    import pytest

    if params is not None and not params:
        raise UsageError(
            "harness.candidate(params=...): it is empty, so there is no candidate.\n"
            "  hint: give each candidate a value, as in params={'r8': 8, 'r16': 16}, or leave params out."
        )
    given = params or ()
    pairs = given.items() if isinstance(given, Mapping) else [(None, value) for value in given]
    values, names = [], []
    for name, value in pairs:
        own, value = _unpacked(value)
        values.append(value)
        names.append(str(value if own is None else own) if name is None else name)
    spelled = [str(name).replace("_", "-") for name in names]
    twice = [name for name in dict.fromkeys(spelled) if spelled.count(name) > 1]
    if twice:
        raise UsageError(f"harness.candidate(params=...): two parameters are called {twice[0]!r}.")

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        setattr(function, MARK, True)
        return pytest.fixture(scope="session", params=values or None, ids=names or None)(function)

    return decorate if function is None else decorate(function)


def _unpacked(value: object) -> tuple[object, object]:
    """The id and the value of a ``pytest.param``; None and the value itself for anything else."""
    import pytest

    if not isinstance(value, type(pytest.param())):
        return None, value
    if value.marks or len(value.values) != 1:
        raise UsageError("harness.candidate(params=...): pytest.param takes one value here, and no marks.")
    return value.id, value.values[0]
