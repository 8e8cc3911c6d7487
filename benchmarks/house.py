"""The shape of the code: its size, how it is cut up, and how many things one name means.

    python -m benchmarks.house                          harness/
    python -m benchmarks.house before=../old/harness    and another package beside it
    python -m benchmarks.house --names                  the names behind the counts

Every ``*.py`` file of a package counts, but for folders named ``tests``, ``test``, ``vendor`` or ``_vendor``.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import statistics
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HARNESS = Path(__file__).parent.parent / "harness"
LEFT_OUT = {"tests", "test", "vendor", "_vendor"}
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
LAYOUT = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


@dataclass
class Shape:
    """What was counted of one package.

    Args:
        lines: physical lines of each file.
        code_lines: lines that bear a token which is neither comment nor docstring.
        function_lines: physical lines of each function and method, docstring included;
            a nested function counts on its own and within the outer one.
        once_used: module-level functions with a leading underscore and no decorator whose name appears once
            more in their file: ``file:line name``.
        classes: where each name is defined as a class or type alias at the top of a module.
        modules: where each file name (but ``__init__``) occurs.
    """

    lines: list[int] = field(default_factory=list)
    code_lines: int = 0
    comment_lines: int = 0
    docstring_lines: int = 0
    function_lines: list[int] = field(default_factory=list)
    once_used: list[str] = field(default_factory=list)
    classes: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    modules: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def measure(package: Path) -> Shape:
    """The shape of the package in a folder.

    Raises:
        ValueError: there is no Python file in it.
    """
    shape = Shape()
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        if not LEFT_OUT.intersection(place.parts):
            _add(shape, place, path.read_text(encoding="utf-8"))
    if not shape.lines:
        raise ValueError(f"{package}: no Python file")
    return shape


def _add(shape: Shape, place: Path, source: str) -> None:
    tree = ast.parse(source)
    docstrings = set(_docstring_lines(tree))
    code, comments = set[int](), set[int]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in LAYOUT:
            code.update(range(token.start[0], token.end[0] + 1))
    shape.lines.append(source.count("\n"))
    shape.code_lines += len(code - docstrings)
    shape.comment_lines += len(comments)
    shape.docstring_lines += len(docstrings)
    for node in ast.walk(tree):
        if isinstance(node, FUNCTION):
            shape.function_lines.append((node.end_lineno or node.lineno) - node.lineno + 1)

    if place.stem != "__init__":
        shape.modules[place.stem].append(str(place))
    words = Counter(re.findall(r"\w+", source))
    for node in tree.body:
        where = f"{place}:{node.lineno}"
        if isinstance(node, ast.ClassDef):
            shape.classes[node.name].append(where)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            # CapWords name a type; a constant is all capitals
            if isinstance(target, ast.Name) and target.id[0].isupper() and not target.id.isupper():
                shape.classes[target.id].append(where)
        elif isinstance(node, FUNCTION) and node.name.startswith("_") and not node.decorator_list:
            uses = words[node.name] - 1  # without the definition
            shape.once_used += [f"{where} {node.name}"] * (uses == 1)


def _docstring_lines(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        match node:
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                if ast.get_docstring(node, clean=False) is not None:
                    text = node.body[0]
                    yield from range(text.lineno, (text.end_lineno or text.lineno) + 1)


def ambiguous(places: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Names that stand in two or more places."""
    return {name: found for name, found in sorted(places.items()) if len(found) > 1}


def figures(shape: Shape) -> dict[str, str]:
    """The rows of the table, by label."""
    lengths = shape.function_lines or [0]
    # deciles of a single function are that function's length
    p90 = statistics.quantiles(lengths, n=10, method="inclusive")[8] if len(lengths) > 1 else lengths[0]
    names = ambiguous(shape.classes)
    definitions = sum(map(len, names.values()))
    hundred, thousand = max(shape.code_lines, 1) / 100, max(shape.code_lines, 1) / 1_000
    return {
        "files": f"{len(shape.lines):,}",
        "lines": f"{sum(shape.lines):,}",
        "lines of code": f"{shape.code_lines:,}",
        "functions": f"{len(shape.function_lines):,}",
        "function lines, median / p90 / max": f"{statistics.median(lengths):g} / {p90:g} / {max(lengths)}",
        "private functions used once": f"{len(shape.once_used):,}",
        "private functions used once, per 1,000 lines of code": f"{len(shape.once_used) / thousand:.1f}",
        "class names of two or more meanings (definitions)": f"{len(names)} ({definitions})",
        "module names used twice or more": f"{len(ambiguous(shape.modules))}",
        "comment lines per 100 of code": f"{shape.comment_lines / hundred:.1f}",
        "docstring lines per 100 of code": f"{shape.docstring_lines / hundred:.1f}",
    }


def table(shapes: Mapping[str, Shape]) -> str:
    """All packages as a Markdown table, one column each."""
    columns = {name: figures(shape) for name, shape in shapes.items()}
    labels = next(iter(columns.values()))
    rows = [f"| {label} | {' | '.join(column[label] for column in columns.values())} |" for label in labels]
    return "\n".join([f"| | {' | '.join(columns)} |", f"|---{'|---:' * len(columns)}|", *rows])


def names_behind(shape: Shape) -> str:
    """What the counts of names are made of, for a person who wants to lower them."""
    listed = [
        ("private functions used once", shape.once_used),
        ("classes", [f"{name}: {', '.join(where)}" for name, where in ambiguous(shape.classes).items()]),
        ("modules", [f"{name}: {', '.join(where)}" for name, where in ambiguous(shape.modules).items()]),
    ]
    return "\n".join(f"{title}\n" + "".join(f"  {line}\n" for line in lines) for title, lines in listed)


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m benchmarks.house``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.house", description=__doc__.splitlines()[0])
    parser.add_argument("others", nargs="*", metavar="NAME=PATH", help="another package, for comparison")
    parser.add_argument("--names", action="store_true", help="list the names behind the counts, for harness/")
    given = parser.parse_args(arguments)
    if not all("=" in other for other in given.others):
        parser.error("name each package: NAME=PATH")
    paths = {"harness": HARNESS, **{n: Path(path) for n, _, path in (o.partition("=") for o in given.others)}}
    try:
        shapes = {name: measure(path) for name, path in paths.items()}
    except (ValueError, SyntaxError) as error:
        parser.error(str(error))
    print(table(shapes))
    if given.names:
        print(f"\n{names_behind(shapes['harness'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
