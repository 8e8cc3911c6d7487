"""Documents as passages: what is read of each kind, and what is refused with its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.data.passages import PASSAGE_WORDS, read_passages
from harness.errors import DataError


def test_each_kind_is_read_by_its_headings(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "# Refunds\n\nWithin thirty days.\n\n```\n# no heading\n```\n## Late\nNo.\n"
    )
    page = "<h1>Ship<b>ping</b></h1><script>steal()</script><p>Two&nbsp;days</p><p>to Rome"
    (tmp_path / "b.html").write_text(page)
    (tmp_path / "c.txt").write_text("# plain")
    (tmp_path / "d.docx").write_bytes(b"\0")
    (tmp_path / ".hidden.md").write_bytes(b"\xff")
    found = read_passages(tmp_path, "handbook")
    assert [(p.place, p.heading) for p in found] == [
        ("handbook/a.md#1", "Refunds"),
        ("handbook/a.md#2", "Late"),
        ("handbook/b.html#1", "Shipping"),
        ("handbook/c.txt#1", ""),
    ]
    assert "# no heading" in found[0].text
    assert found[2].text.split() == ["Two", "days", "to", "Rome"]


def test_a_long_part_is_cut_and_nothing_is_lost(tmp_path: Path) -> None:
    words = [f"w{k}" for k in range(950)]
    (tmp_path / "a.md").write_text(" ".join(words[:500]) + "\n\n" + " ".join(words[500:]))
    found = read_passages(tmp_path, "docs")
    assert all(len(one.text.split()) <= PASSAGE_WORDS for one in found)
    assert " ".join(one.text for one in found).split() == words


@pytest.mark.parametrize("text", ["\u4e2d\u6587" * 300, "x" * 9_000])
def test_text_without_spaces_is_cut_too(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    found = [one.text for one in read_passages(tmp_path, "docs")]
    assert "".join(found) == text
    assert len(found) == 3


def test_a_pdf_is_read_and_a_broken_one_is_named(tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    writer = pypdf.PdfWriter()
    writer.add_blank_page(72, 72)
    writer.write(tmp_path / "blank.pdf")
    with pytest.raises(DataError, match="holds no text in 1 documents"):
        read_passages(tmp_path, "docs")
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.7 nothing")
    with pytest.raises(DataError, match=r"docs/bad\.pdf: cannot be read as a PDF"):
        read_passages(tmp_path, "docs")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    with pytest.raises(DataError, match="is no folder"):
        read_passages(folder, "docs")
    folder.mkdir()
    with pytest.raises(DataError, match="holds no document"):
        read_passages(folder, "docs")
    (tmp_path / "secret.txt").write_text("a secret")
    (folder / "a.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(DataError, match=r"docs/a\.txt: is a link that leads out of the folder"):
        read_passages(folder, "docs")
    (folder / "a.txt").unlink()
    (folder / "b.md").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"docs/b\.md: is not UTF-8"):
        read_passages(folder, "docs")
