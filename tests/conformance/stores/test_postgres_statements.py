"""The statements of the PostgreSQL store: each finds what it needs by a key, and is used."""

import contextlib
import itertools
import re
from pathlib import Path

import pytest

from plait.adapters.stores import encoding
from plait.adapters.stores.open import open_store
from plait.adapters.stores.postgres import batches, definition_queries, partition_queries, queries, revisions
from plait.adapters.stores.postgres.pipeline import Statement
from tests import pg

pytestmark = pytest.mark.postgres
STATEMENTS = {
    name: value
    for module in (queries, definition_queries, partition_queries, batches)
    for name, value in vars(module).items()
}


@pytest.fixture
def store():
    """A store that may have been used before, without rows."""
    with pg.emptied() as made, contextlib.closing(open_store(made)) as opened:
        yield opened


SCANS = {
    "ASSETS", "AWAITED", "DELETE_BACKFILLS", "DROP_STRAY_INBOX", "DROP_UNAWAITED", "FORGET_SWEPT", "FORGET_TRASH",
    "FREE_SLOTS_OF", "LIMITS", "LOOK", "OPEN_RUNS_OF", "OWNERS", "REVISION", "RUNS_ENDING", "SLOTS", "TRASH", "WAITING",
}  # fmt: skip
"""Statements that look at a whole table (or, OPEN_RUNS_OF, at all open runs), on purpose."""


def named_statements() -> dict[str, str]:
    """All of them, with numbered parameters."""
    found: dict[str, str] = {}
    for name, value in STATEMENTS.items():
        for index, each in enumerate(value if type(value) is tuple else (value,)):
            text = each.text if isinstance(each, Statement) else each
            if name.isupper() and isinstance(text, str) and re.match("SELECT|INSERT|UPDATE|DELETE", text):
                text = text.replace("{}", f"{queries.OPEN} AND {queries.BEFORE_RUN}")
                found[f"{name}{index or ''}"] = numbered(text)
    return found


def numbered(text: str) -> str:
    text = text.replace("%(run)s", "$1").replace("%(most)s", "$2").replace("%(schema)s", "$1")
    numbers = itertools.count(1)
    return re.sub("%s", lambda _: f"${next(numbers)}", text)


@pytest.mark.parametrize("name", named_statements())
def test_every_statement_finds_what_it_needs_by_a_key(store, name):
    connection = store._writer.connection()
    connection.execute("SET enable_seqscan = off")  # the tables are small: only what has to be scanned is
    plan = [row[0] for row in connection.execute(f"EXPLAIN (GENERIC_PLAN) {named_statements()[name]}".encode())]
    scans = [step for step in plan if "Seq Scan" in step and "pg_" not in step]
    connection.execute("RESET enable_seqscan")
    assert name in SCANS or not scans, plan


def test_every_statement_is_used():
    folder = Path(revisions.__file__).parent
    files = [*folder.glob("*.py"), *folder.parent.glob("*.py")]
    code = "".join(file.read_text() for file in files if not file.name.endswith(("queries.py", "batches.py")))
    unused = {name for name in STATEMENTS if name.isupper() and name[0] != "_" and name not in vars(encoding)} - set(
        re.findall(r"(?:queries|batches)\.([A-Z_]+)", code)
    )
    assert unused <= {"FINAL", "LIVE", "LOCKS", "TYPES", "UNOWNED"}
