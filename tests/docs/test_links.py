"""Every link leads somewhere: within the documentation, to files, and from the code's messages to pages."""

from __future__ import annotations

import re

import yaml
from pages import PAGES, ROOT, anchors, links, tokens

import harness

#: documents of others that the code names
OTHERS = {"docs/gguf.md"}


def test_links_between_pages_and_to_files_resolve() -> None:
    lost = []
    for page in PAGES:
        for line, to in links(page):
            if re.match(r"[a-z]+:", to):
                continue
            file, _, anchor = to.partition("#")
            target = (page.parent / file).resolve() if file else page
            if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
                lost.append(f"{page.relative_to(ROOT)}:{line}: {to}")
    assert lost == []


def test_pages_that_the_code_names_are_there() -> None:
    lost = []
    for folder in ("harness", "benchmarks", "suites", ".github"):
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in (".py", ".j2", ".toml", ".md", ".yml", ".js", ".css"):
                for name, anchor in re.findall(
                    r"(docs/[\w-]+\.md)(#[\w-]+)?", file.read_text(encoding="utf-8")
                ):
                    page = ROOT / name
                    found = page.is_file() and (not anchor or anchor[1:] in anchors(page))
                    if not found and name not in OTHERS:
                        lost.append(f"{file.relative_to(ROOT)}: {name}{anchor}")
    assert lost == []


def test_pictures_are_small() -> None:
    for page in PAGES:
        for _, to in links(page):
            if to.endswith(".png"):
                assert (page.parent / to).stat().st_size < 300_000, to


def test_every_page_is_in_the_navigation_once() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    nav = yaml.safe_load(re.sub(r"!!python\S+", "", text))["nav"]  # slugs are made by a function

    def leaves(value: object) -> list[str]:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return [str(value)] if inner is None else [leaf for one in inner for leaf in leaves(one)]

    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    assert sorted(leaves(nav)) == sorted(pages)


def test_the_reference_has_every_public_name_once() -> None:
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^::: harness\.(\w+)$", page, re.MULTILINE)) == sorted(harness.__all__)


def test_pages_have_one_title() -> None:
    for page in PAGES:
        assert sum(token.type == "heading_open" and token.tag == "h1" for token in tokens(page)) == 1, page


def test_pages_of_the_site_link_to_nothing_outside_of_it() -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        assert [to for _, to in links(page) if to.startswith("../")] == [], page
