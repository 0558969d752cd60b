"""What the documentation names as evidence is there: the tests of promises and of faults."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("docs/promises.md", "docs/reference/faults.md")
NAMED = re.compile(r"`(tests/[^`\s]+)`")
FAULTS = [*range(1, 11), *range(12, 17), *range(19, 27)]
"""Those of the list of faults that plait answers for by now."""


def named(page: str) -> list[str]:
    return sorted(set(NAMED.findall((ROOT / page).read_text(encoding="utf-8"))))


@pytest.mark.parametrize(("page", "test"), [(page, test) for page in PAGES for test in named(page)])
def test_a_test_that_is_named_is_there(page: str, test: str) -> None:
    path, _, name = test.partition("::")
    assert (ROOT / path).exists(), f"{page} names {path}"
    if name:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {re.escape(name)}\(", text, re.MULTILINE), f"{page} names {test}"


def test_every_fault_has_a_test_that_injects_it() -> None:
    lines = (ROOT / "docs/reference/faults.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if re.match(r"\| F\d+ \|", line)]
    assert [int(line.split()[1][1:]) for line in rows] == FAULTS
    assert all(NAMED.search(line) for line in rows)
