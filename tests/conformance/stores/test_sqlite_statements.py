"""The statements that the SQLite store sends: each finds what it needs by a key, and is used."""

import contextlib
import re
from pathlib import Path

import pytest

from plait.adapters.stores import encoding
from plait.adapters.stores.sqlite import definition_queries, partition_queries, queries, revisions
from plait.adapters.stores.sqlite.store import SqliteStore

STATEMENTS = {
    name: value for module in (queries, definition_queries, partition_queries) for name, value in vars(module).items()
}


@pytest.fixture
def store(tmp_path):
    with contextlib.closing(SqliteStore(tmp_path / "plait.db", synchronous="NORMAL")) as made:
        yield made


SCANS = {
    "ALL_FILES", "AWAITED", "ASSETS", "AUTOMATIONS", "BACKFILLS", "CLAIMABLE", "DELETE_BACKFILLS", "DEPLOYMENTS",
    "DROP_STRAY_INBOX", "DROP_UNAWAITED", "FIRST_MARKS", "FIRST_SIGNALS", "FORGET_SWEPT", "FORGET_TRASH",
    "FREE_SLOTS_OF", "LIMITS", "NAMES", "OPEN_BACKFILLS", "OPEN_RUNS_OF", "OWNED", "OWNERS", "READ_INBOX",
    "RUNS_ENDING", "SLOTS", "TRASH", "PUBLISHED", "TRIGGERS", "WAITING",
}  # fmt: skip
"""Statements that look at a whole table (or, OPEN_RUNS_OF and OWNED, at all open runs), on purpose. The inbox is
short."""


def named_statements() -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in STATEMENTS.items():
        texts = value if isinstance(value, tuple) else (value,)
        for index, text in enumerate(texts):
            if name.isupper() and isinstance(text, str) and re.match("SELECT|INSERT|UPDATE|DELETE", text):
                found[f"{name}{index or ''}"] = text.replace("{}", f"{queries.OPEN} AND {queries.BEFORE_RUN}")
    return found


@pytest.mark.parametrize("name", named_statements())
def test_every_statement_finds_what_it_needs_by_a_key(store, name):
    text = named_statements()[name]
    names = set(re.findall(r":(\w+)", text))
    values = dict.fromkeys(names, 1) if names else ("[]",) * text.count("?")
    plan = [row[3] for row in store._writer.execute(f"EXPLAIN QUERY PLAN {text}", values)]
    scans = [step for step in plan if step.startswith("SCAN ") and not re.search("json_each|CONSTANT", step)]
    assert (name in SCANS) or not scans, plan


def test_the_list_of_open_runs_looks_at_open_runs_only(store):
    text = queries.LIST_RUNS.format(f"{queries.IN_STATES} AND {queries.OPEN}")
    plan = [row[3] for row in store._writer.execute(f"EXPLAIN QUERY PLAN {text}", ("[]", 5))]
    assert any("runs_open" in step for step in plan), plan


def test_who_claims_looks_at_the_runs_that_nobody_owns_oldest_first(store):
    plan = [row[3] for row in store._writer.execute(f"EXPLAIN QUERY PLAN {queries.CLAIMABLE}", (5,))]
    assert any("runs_unowned" in step for step in plan), plan
    assert not any(step.startswith("SCAN runs") and "runs_unowned" not in step for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan


def test_every_statement_is_used():
    folder = Path(revisions.__file__).parent
    files = [*folder.glob("*.py"), *folder.parent.glob("*.py")]
    code = "".join(file.read_text() for file in files if not file.name.endswith("queries.py"))
    unused = {name for name in STATEMENTS if name.isupper() and name[0] != "_" and name not in vars(encoding)} - set(
        re.findall(r"queries\.([A-Z_]+)", code)
    )
    assert unused <= {"FINAL", "LIVE"}
