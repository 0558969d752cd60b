"""What is only SQLite's: the file, its place, its schema, its migrations, and processes that share it."""

import contextlib
import os
import re
import shutil
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from plait.adapters.stores import migrating
from plait.adapters.stores.open import open_store, status, upgrade
from plait.adapters.stores.sqlite import connections, migrate, places, revisions
from plait.adapters.stores.sqlite.store import SqliteStore
from plait.model.errors import StoreError
from plait.model.rows import EventRow
from tests.conformance.stores.kinds import create, emptied, event_rows, owner_row, run_row, task_row, write


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "plait.db"


@pytest.fixture
def store(path):
    with contextlib.closing(SqliteStore(path, synchronous="NORMAL")) as made:
        yield made


def raw(path: Path) -> contextlib.closing[sqlite3.Connection]:
    return contextlib.closing(sqlite3.connect(path, isolation_level=None))


# --- opening ---------------------------------------------------------------------------------------------------------


def test_folders_are_made_and_the_url_is_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///a/b/x.db", "c/x.db", f"sqlite:///{tmp_path}/d e?/ü%20.db"):
        store = open_store(url)
        assert store.url.startswith(f"sqlite:////{str(tmp_path)[1:]}/")
        again = open_store(store.url)
        create(store, run_row())
        assert again.get_run("r1") == run_row()
        store.close()
        again.close()
    assert (tmp_path / "d e?" / "ü%20.db").is_file()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://host/db", "no store for mysql://"),
        ("sqlite://host/x.db", "names a host"),
        ("sqlite:///", "names no file"),
        ("", "names no file"),
        (":memory:", "memory://"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///x.db?sync=FULL", "no option 'sync'"),
        ("sqlite:///x.db?synchronous=OFF", "FULL, NORMAL, EXTRA"),
    ],
)
def test_a_url_that_cannot_work_is_told(url, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=re.escape(told)):
        open_store(url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("option", "level"), [("", 2), ("?synchronous=NORMAL", 1), ("?synchronous=full", 2)])
def test_durability_is_an_option(path, option, level):
    with contextlib.closing(open_store(f"sqlite:///{path}{option}")) as store:
        assert isinstance(store, SqliteStore)
        assert store._writer.execute("PRAGMA synchronous").fetchone() == (level,)
        assert store._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_that_was_made_empty_is_taken(path):
    path.touch()
    SqliteStore(path).close()
    assert status(str(path)) == (revisions.HEAD, revisions.HEAD)


def test_a_copy_without_write_ahead_log_is_taken(store, path, tmp_path):
    create(store, run_row())
    copy = tmp_path / "copy.db"
    store._writer.execute(f"VACUUM INTO '{copy}'")
    with contextlib.closing(SqliteStore(copy)) as other:
        assert other.get_run("r1") == run_row()
        assert other._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_nothing_is_left_beside_the_file_when_all_is_closed(path):
    store = SqliteStore(path)
    create(store, run_row())
    store.renew(owner_row())
    store.get_run("r1")
    store.close()
    assert [file.name for file in path.parent.iterdir()] == ["plait.db"]


# --- what can be wrong with a place ----------------------------------------------------------------------------------


def refused(path: Path, *told: str) -> None:
    with pytest.raises(StoreError) as caught:
        SqliteStore(path)
    for words in (str(path), *told):
        assert words in str(caught.value)


def test_a_folder(tmp_path):
    refused(tmp_path, "is a folder", "plait.db")


def test_a_file_that_is_no_database(path):
    path.write_bytes(b"print('hello')\n" * 100)
    refused(path, "is not a database", "choose another file")


def test_a_database_of_something_else(path):
    with raw(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
    refused(path, "not one of plait")
    with pytest.raises(StoreError, match="not one of plait"):
        status(str(path))


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be made"):
        SqliteStore(tmp_path / "file" / "folder" / "plait.db")


def test_a_read_only_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda place, mode: False)  # root may write everywhere
    refused(tmp_path / "plait.db", "read-only")


def test_a_read_only_file(store, path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda place, mode: place != path)
    refused(path, "the file is read-only")


@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/proc/self").exists(), reason="needs Linux, where root may not write"
)
def test_a_place_where_not_even_root_may_write():
    with pytest.raises(StoreError, match="/proc"):
        SqliteStore(Path("/proc/plait.db"))


def test_a_network_file_system(path, monkeypatch):
    mounts = f"/dev/vda / ext4 rw 0 0\nhost:/x {path.parent.parent} nfs4 rw 0 0\n"
    monkeypatch.setattr(places, "_mounts", lambda: mounts)
    refused(path, "network file system (nfs4)", "local disk")
    monkeypatch.setenv(places.ALLOW, "1")
    SqliteStore(path).close()


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me/x", "nfs"),
        ("/home/me", "nfs"),
        ("/home/meme", "ext4"),
        ("/mnt/my share/x", "cifs"),
        ("/home/me/over", "xfs"),
        ("/", "ext4"),
    ],
)
def test_the_file_system_of_a_folder(folder, kind):
    mounts = (
        "rootfs / rootfs rw 0 0\n/dev/vda / ext4 rw 0 0\nx /home/me nfs rw 0 0\nx /mnt/my\\040share cifs rw 0 0\n"
        "garbage\n/dev/b /home/me/over xfs rw 0 0\n"
    )
    assert places.mount_type(Path(folder), mounts) == kind


def test_a_damaged_file(store, path):
    create(store, *[run_row(f"{index:04}", reason="x" * 200) for index in range(500)])
    store.close()
    data = bytearray(path.read_bytes())
    for start in range(revisions.PAGE_SIZE * 2, len(data) - 4096, 4096):
        data[start : start + 2048] = os.urandom(2048)
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"damaged"), contextlib.closing(SqliteStore(path)) as other:
        other.list_runs(limit=1000)


def test_a_full_disk(store):
    create(store, run_row())
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match="disk is full"):
        write(store, tasks=[task_row(no, error=b"x" * 500) for no in range(500)])
    assert store.tasks("r1") == []
    store._writer.execute("PRAGMA max_page_count = 1000000")
    write(store, tasks=[task_row(0)])
    assert store.tasks("r1") == [task_row(0)]


def test_a_file_that_was_deleted_is_not_made_anew_by_a_reader(path):
    store = SqliteStore(path)
    path.unlink()
    with pytest.raises(StoreError, match="cannot be opened"):
        store.get_run("r1")
    assert not path.exists()
    store.close()


def test_rows_that_contradict_are_refused(store):
    create(store, run_row())
    write(store, events=event_rows(1, 2))
    with pytest.raises(StoreError, match="contradicts"):
        write(store, events=event_rows(2, 2))
    write(store, events=event_rows(3, 3))


def test_a_reason_that_is_no_text_does_not_stop_a_sweep(store):
    create(store, run_row(owner="dead"))
    write(store, tasks=[task_row(0)])
    assert store.sweep(["dead"], "caf\udce9", 5.0) == ["r1"]
    assert store.tasks("r1")[0].state == "crashed"


# --- waiting for others ----------------------------------------------------------------------------------------------


def test_a_write_waits_for_another_process(store, path):
    create(store, run_row())
    with raw(path) as other:
        other.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        thread = threading.Thread(target=write, args=(store,), kwargs={"tasks": [task_row(0)]})
        thread.start()
        time.sleep(0.3)
        assert store.tasks("r1") == [], "reading goes on"
        other.execute("COMMIT")
        thread.join()
    assert time.monotonic() - begun >= 0.3
    assert store.tasks("r1") == [task_row(0)]


def test_a_write_that_never_gets_its_turn_says_who_may_be_at_it(store, path, monkeypatch):
    monkeypatch.setattr(connections, "PATIENCE", 0.1)
    with raw(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="held by another process"):
            create(store, run_row())
        with pytest.raises(StoreError, match="held by another process"):
            store.renew(owner_row())
        other.execute("ROLLBACK")
    create(store, run_row())
    assert store.renew(owner_row())


def test_more_threads_read_than_there_are_connections(store):
    create(store, run_row())
    started = threading.Barrier(20)
    found = []

    def read() -> None:
        started.wait()
        found.extend(store.get_run("r1") for _ in range(20))

    threads = [threading.Thread(target=read) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [run_row()] * 400
    assert len(store._readers._idle) <= connections.READERS


def test_the_log_is_cut_also_when_somebody_always_reads_and_a_long_reader_is_not_waited_for_again(path, monkeypatch):
    monkeypatch.setattr(connections, "WAL_MOST", 200_000)
    monkeypatch.setattr("plait.adapters.stores.sqlite.store.WAL_MOST", 200_000)
    log = Path(f"{path}-wal")
    with contextlib.closing(SqliteStore(path, synchronous="NORMAL")) as store, raw(path) as other:
        create(store, run_row())
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM runs").fetchone()
        begun = time.monotonic()
        for no in range(200):
            write(store, tasks=[task_row(no, error=b"x" * 2000)])
        assert time.monotonic() - begun < 8
        assert log.stat().st_size > 400_000
        other.execute("COMMIT")
        for no in range(200, 600):
            write(store, tasks=[task_row(no, error=b"x" * 2000)])
        assert log.stat().st_size < 2_000_000
        assert len(store.tasks("r1")) == 600


# --- schema and migrations -------------------------------------------------------------------------------------------


def schema_of(path: Path) -> dict[str, str]:
    """Every table and index by name, its text without blanks and comments."""
    with raw(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        ours = str(connection.execute("PRAGMA application_id").fetchone()[0])
    return {"application_id": ours} | {name: re.sub(r"\s+", "", sql) for name, sql in rows}


def test_the_full_schema_is_that_of_all_migrations(path, tmp_path):
    SqliteStore(path).close()
    migrated = tmp_path / "migrated.db"
    migrate.run_migrations(migrated)
    assert schema_of(migrated) == schema_of(path)
    with contextlib.closing(SqliteStore(migrated)) as store:
        create(store, run_row())
        assert store.get_run("r1") == run_row()


def test_the_list_of_revisions_is_that_of_the_files():
    from alembic.script import ScriptDirectory

    found = [
        script.revision for script in ScriptDirectory.from_config(migrating.config(migrate.FOLDER)).walk_revisions()
    ]
    assert tuple(reversed(found)) == revisions.REVISIONS
    assert found[0] == revisions.HEAD
    assert sorted(file.name[:4] for file in (migrate.FOLDER / "versions").glob("*.py")) == sorted(revisions.REVISIONS)


def test_a_file_of_the_first_revision_keeps_what_it_has(tmp_path, path):
    SqliteStore(path).close()
    old = tmp_path / "old.db"
    migrate.run_migrations(old, "0001")
    with raw(old) as connection:
        connection.execute(
            "INSERT INTO runs (run_id, workflow, kind, graph_hash, state, created_at, params, owner, epoch, session, "
            "engine_min, reason, target, tags) "
            "VALUES ('r1', 'w', 'dag', 'h', 'running', 1.0, x'7b7d', 'me', 1, 1, 1, '', '', '[]')"
        )
        connection.execute("INSERT INTO owners VALUES ('me', 'h', 1, 1.0, 100.0, NULL)")
        connection.execute("INSERT INTO inbox (id, run_id, data) VALUES (7, 'r1', x'00ff'), (9, 'r1', x'01')")
        # A process of the older version, which has the file open: its statements go on working.
        upgrade(str(old))
        connection.execute(
            "INSERT INTO owners (owner, host, pid, started, lease_until) VALUES ('you', 'h', 2, 1.0, 9.0)"
        )
        connection.execute("INSERT INTO inbox (run_id, data) VALUES ('r1', x'02')")
    assert schema_of(old) == schema_of(path)
    with contextlib.closing(SqliteStore(old)) as store:
        assert store.get_run("r1") == run_row(owner="me")
        assert store.owners() == [owner_row(), owner_row("you", pid=2, lease_until=9.0)]
        assert [(row.id, row.data) for row in store.read_inbox("me")] == [(7, b"\0\xff"), (9, b"\1"), (10, b"\2")]


OLD = revisions.HEAD
NEW, NEWEST = (f"{int(OLD) + more:04}" for more in (1, 2))
MIGRATION = """
from alembic import op

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    op.execute("CREATE TABLE made_by_{revision} (x INTEGER)")
    op.execute("UPDATE runs SET reason = reason || '{revision}'")
    {more}
"""


@pytest.fixture
def two_more(tmp_path, monkeypatch, path):
    """A version of plait with two more revisions, and an older file with one run."""
    SqliteStore(path).close()
    with contextlib.closing(SqliteStore(path)) as store:
        create(store, run_row())
    folder = tmp_path / "migrations %20"
    shutil.copytree(migrate.FOLDER, folder)
    for before, revision in ((OLD, NEW), (NEW, NEWEST)):
        text = MIGRATION.format(revision=revision, before=before, more="")
        (folder / "versions" / f"{revision}_test.py").write_text(text)
    monkeypatch.setattr(migrate, "FOLDER", folder)
    monkeypatch.setattr(revisions, "REVISIONS", (*revisions.REVISIONS, NEW, NEWEST))
    monkeypatch.setattr(revisions, "HEAD", NEWEST)
    return folder / "versions"


def test_an_older_file_is_refused_until_it_is_upgraded(two_more, path):
    assert status(str(path)) == (OLD, NEWEST)
    with pytest.raises(StoreError, match="plait db upgrade"):
        open_store(str(path), migrate=False)
    assert status(str(path)) == (OLD, NEWEST)
    upgrade(str(path))
    assert status(str(path)) == (NEWEST, NEWEST)
    with contextlib.closing(open_store(str(path), migrate=False)) as store:
        assert store.get_run("r1").reason == NEW + NEWEST
    upgrade(str(path))


def test_a_migration_that_fails_leaves_whole_revisions_and_is_resumed(two_more, path):
    script = two_more / f"{NEWEST}_test.py"
    good = script.read_text()
    script.write_text(MIGRATION.format(revision=NEWEST, before=NEW, more='op.execute("SELECT * FROM nowhere")'))
    with pytest.raises(StoreError, match="could not be migrated"):
        open_store(str(path), migrate=True)
    assert status(str(path)) == (NEW, NEWEST)
    assert f"made_by_{NEW}" in schema_of(path)
    assert f"made_by_{NEWEST}" not in schema_of(path)
    script.write_text(good + "\n")
    with contextlib.closing(open_store(str(path), migrate=True)) as store:
        assert store.get_run("r1").reason == NEW + NEWEST


def test_a_store_that_is_open_goes_on_while_another_migrates(two_more, path, monkeypatch):
    with monkeypatch.context() as old_version:
        old_version.setattr(revisions, "REVISIONS", revisions.REVISIONS[:-2])
        old_version.setattr(revisions, "HEAD", OLD)
        old = SqliteStore(path)
    create(old, run_row("before"))
    upgrade(str(path))
    create(old, run_row("after"))
    write(old, "after", tasks=[task_row(0)], events=event_rows(1, 1))
    assert len(old.list_runs()) == 3
    old.close()


def test_two_that_migrate_at_once(two_more, path):
    failed = []

    def bring_up() -> None:
        try:
            upgrade(str(path))
        except StoreError as error:
            failed.append(error)

    threads = [threading.Thread(target=bring_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with contextlib.closing(open_store(str(path))) as store:
        assert store.get_run("r1").reason == NEW + NEWEST


def test_a_newer_file_is_refused(store, path):
    with raw(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    for may in (True, False):
        with pytest.raises(StoreError, match=r"of a newer plait .*9999.*upgrade plait, or use another database"):
            open_store(str(path), migrate=may)
    assert status(str(path)) == ("9999", revisions.HEAD)


def test_status_of_what_is_not_there_makes_nothing(tmp_path):
    assert status(f"sqlite:///{tmp_path}/no/plait.db") == (None, revisions.HEAD)
    assert status("memory://") == ("memory", "memory")
    assert list(tmp_path.iterdir()) == []


# --- retention -------------------------------------------------------------------------------------------------------


def test_a_large_run_is_deleted_in_parts_and_what_a_dead_process_left_goes_next(path):
    commits = []

    def die(point: str) -> None:
        commits.append(point)
        if commits.count("before_commit") == 3:
            raise KeyboardInterrupt

    store = SqliteStore(path, synchronous="NORMAL", on_commit=lambda point: die(point) if dying else None)
    dying = False
    create(store, run_row(state="success", finished_at=1.0), run_row("r2", state="success", finished_at=1.0))
    for run_id in ("r1", "r2"):
        write(store, run_id, tasks=[task_row(no) for no in range(20)])
        for seq in range(1, 20):
            write(store, run_id, events=[EventRow(seq=seq, at=0.0, data=b"x")])
    dying = True
    with pytest.raises(KeyboardInterrupt):
        emptied(store, 7)
    assert store.list_runs() == []
    dying = False
    create(store, run_row())
    assert store.load_run("r1").tasks == []
    assert emptied(store, 7) == 0
    for table in ("tasks", "events", "trash"):
        assert store._writer.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)  # noqa: S608  names from above
    store.close()
