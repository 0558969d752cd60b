"""The code of the pages runs, and prints what the pages say.

A page's `python` blocks are run in order, as one script in a process of its own, in an empty folder; a `text` block
right after one shows what it prints. A block marked `no-run` is only compiled. A block with a title is a file, for
the page's `console` blocks, which are followed as a reader would (see `scripts/run_tutorial.py`).
"""

import ast
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import plait
from scripts.run_tutorial import Block, blocks, missing, run_page
from tests.docs.reader import reader_python

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLLOWED_ELSEWHERE = {"docs/tutorial.md": "test_tutorial"}
MARK = "---- block {} ----"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks_of(page: Path) -> list[Block]:
    return list(blocks(page.read_text(encoding="utf-8"), name_of(page)))


def is_run(block: Block) -> bool:
    return block.language == "python" and not {"title", "no-run"} & set(block.attributes)


def script_of(found: list[Block]) -> str:
    """The blocks that are run, each line where it stands in the page, so that a traceback names the page's line. On the
    line of a block's closing fence its end is marked in the output."""
    lines: list[str] = []
    for block in filter(is_run, found):
        lines += [""] * (block.line - len(lines)) + block.body
        lines.append(f"print({MARK.format(block.line)!r}, flush=True)")
    return "\n".join(lines) + "\n"


def outputs_of(found: list[Block], printed: str) -> list[tuple[Block, str]]:
    """The `text` blocks right after a block that is run, each with what that one printed."""
    pieces: dict[int, str] = {}
    for block in filter(is_run, found):
        pieces[block.line], _, printed = printed.partition(MARK.format(block.line) + "\n")
    return [
        (after, pieces[before.line]) for before, after in pairwise(found) if is_run(before) and after.language == "text"
    ]


def pages_with(language: str) -> list[str]:
    return [name_of(page) for page in PAGES if any(block.language == language for block in blocks_of(page))]


@pytest.mark.parametrize("page", pages_with("python"))
def test_every_python_block_compiles(page: str):
    for block in blocks_of(ROOT / page):
        if block.language == "python":
            text = "\n" * block.line + "\n".join(block.body)
            compile(text, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


@pytest.mark.parametrize("page", [p for p in pages_with("python") if any(map(is_run, blocks_of(ROOT / p)))])
def test_the_code_of_a_page_prints_what_the_page_says(page: str, tmp_path: Path):
    found = blocks_of(ROOT / page)
    script = tmp_path / Path(page).with_suffix(".py").name.replace("-", "_")
    script.write_text(script_of(found), encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PLAIT_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": str(Path(plait.__file__).parents[1]), "PLAIT_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{page}, lines as in {script}\n{done.stdout}\n{done.stderr}"
    for block, printed in outputs_of(found, done.stdout):
        assert missing(block.body, printed) == [], f"{page}:{block.line} does not show what was printed:\n{printed}"


@pytest.mark.parametrize("page", [page for page in pages_with("console") if page not in FOLLOWED_ELSEWHERE])
def test_the_commands_of_a_page_hold(page: str, tmp_path: Path):
    run_page(ROOT / page, reader_python(tmp_path), 60)
