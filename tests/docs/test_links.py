"""Links between the pages lead somewhere, and every page is reached from the documentation's first one."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [page for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md") for page in sorted(ROOT.glob(pattern))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED = re.compile(r"^ *(```|~~~).*?^ *\1", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def text_of(page: Path) -> str:
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """What a page links to in this repository: the file or folder, and the heading if one is named."""
    for target in LINK.findall(text_of(page)):
        if "://" not in target and not target.startswith("mailto:"):
            file, _, heading = target.partition("#")
            yield (page.parent / file).resolve() if file else page, heading


def headings(page: Path) -> set[str]:
    """As GitHub names them in links."""
    return {re.sub(r"[^\w\- ]", "", found.lower()).replace(" ", "-") for found in HEADING.findall(text_of(page))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    for file, heading in links(page):
        assert file.exists(), f"{file} is not there"
        assert not heading or heading in headings(file), f"{file} has no heading {heading!r}"


def test_every_page_is_reached():
    reached: set[Path] = set()
    todo = [ROOT / "docs" / "index.md"]
    while todo:
        page = todo.pop()
        if page not in reached:
            reached.add(page)
            below = [file for file, _ in links(page)]
            todo += [file for file in below if file.suffix == ".md"]
            todo += [each for folder in below if folder.is_dir() for each in folder.glob("*.md")]
    assert {page for page in PAGES if "docs" in page.parts} <= reached
