"""What is only PostgreSQL's: the URL, the schema, its migrations, its statements."""

import contextlib
import os
import re
import shutil
import threading
from pathlib import Path

import psycopg
import pytest

from plait.adapters.stores import migrating
from plait.adapters.stores.open import open_store, status, upgrade
from plait.adapters.stores.postgres import (
    migrate,
    revisions,
    server,
)
from plait.adapters.stores.postgres.store import PostgresStore
from plait.adapters.stores.urls import parse, shown
from plait.model.errors import StoreError
from plait.model.rows import EventRow
from tests import pg
from tests.conformance.stores.kinds import create, emptied, event_rows, owner_row, run_row, task_row, write

pytestmark = pytest.mark.postgres


@pytest.fixture
def url():
    """A schema that is not there yet."""
    with pg.schema() as made:
        yield made


@pytest.fixture
def store():
    """A store that may have been used before, without rows."""
    with pg.emptied() as made, contextlib.closing(open_store(made)) as opened:
        yield opened


def schema_of(url: str) -> str:
    return parse(url).options["schema"]


def raw(url: str) -> psycopg.Connection:
    """A connection of somebody else's to the same schema."""
    return psycopg.connect(pg.url(), autocommit=True, options=f"-c search_path={schema_of(url)}")


# --- the URL ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("schema=No", "schema=No cannot be"),
        ("schema=a;drop", "cannot be"),
        ("synchronous_commit=maybe", "one of on, off, local, remote_write, remote_apply"),
        ("ssl_mode=on", "PostgreSQL knows no option 'ssl_mode'"),
    ],
)
def test_an_option_that_cannot_work_is_told(more, told):
    with pytest.raises(StoreError, match=re.escape(told)):
        open_store(f"{pg.url()}&{more}")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:se@cret@host/db",
        "postgresql://me:se:cret@host/db",
        "postgresql://me:se%zzcret@host/db",
        "postgresql://me:se?cret@host/db",
        "postgresql://me:se/cret@host/db",
        "postgres://me:cret@127.0.0.1:1/db",
        "postgresql+psycopg://me@127.0.0.1:1/db?password=cret",
        "mysql://me:cret@host/db",
    ],
)
def test_no_message_holds_a_password(url):
    with pytest.raises(StoreError) as caught:
        open_store(url)
    assert "cret" not in str(caught.value)
    assert "cret" not in shown(url)


def test_a_password_that_could_not_be_read_is_answered_with_how_to_write_it():
    with pytest.raises(StoreError, match="%40"):
        open_store("postgresql://me:se@cret@host/db")


def test_a_server_that_is_not_there():
    with pytest.raises(StoreError, match="is the server running there"):
        open_store("postgresql://me@127.0.0.1:1/db")
    with pytest.raises(StoreError, match="check its name"):
        open_store("postgresql://me@no-such-host.invalid/db")


def test_a_database_that_is_not_there():
    with pytest.raises(StoreError, match=re.escape("there is no database 'nowhere' on that server: create it")):
        open_store(with_database(pg.url(), "nowhere"))


def with_database(url: str, name: str) -> str:
    place, _, query = url.partition("?")
    return f"{place.rpartition('/')[0]}/{name}?{query}"


def test_a_user_that_is_not_there_or_may_not_make_a_schema(url):
    base = url.partition("://")[2].partition("@")[2]
    with pytest.raises(StoreError, match="does not know this user"):
        open_store(f"postgresql://nobody@{base}")
    with raw(url) as connection:
        connection.execute("DROP ROLE IF EXISTS plait_little")
        connection.execute("CREATE ROLE plait_little LOGIN")
        with pytest.raises(StoreError, match="does not allow this user to do that"):
            open_store(f"postgresql://plait_little@{base}")
        connection.execute("DROP ROLE plait_little")


def test_a_wrong_password(monkeypatch):
    own = pg.Server(**pg.SETTINGS)
    try:
        with psycopg.connect(own.url, autocommit=True) as connection:
            connection.execute("CREATE ROLE plait LOGIN SUPERUSER PASSWORD 'right'")
            [file] = connection.execute("SHOW hba_file").fetchone()
            Path(file).write_text("local all plait scram-sha-256\nlocal all all trust\n")
            connection.execute("SELECT pg_reload_conf()")
        place = own.url.partition("@")[2]
        with pytest.raises(StoreError, match="does not take this user with this password") as caught:
            open_store(f"postgresql://plait:wrong@{place}")
        assert "wrong@" not in str(caught.value)
        with pytest.raises(StoreError, match="asks for a password: put it into the URL"):
            open_store(f"postgresql://plait@{place}")
        with contextlib.closing(open_store(f"postgresql://plait:right@{place}")) as store:
            create(store, run_row())
            assert "right" not in store.url
        monkeypatch.setenv("PGPASSWORD", "right")
        assert status(f"postgresql://plait@{place}") == (revisions.HEAD, revisions.HEAD)
    finally:
        own.close()


def test_a_driver_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(StoreError, match=re.escape("pip install 'plait[postgres]'")):
        open_store("postgresql://me@host/db")


def test_a_server_that_is_too_old(url, monkeypatch):
    monkeypatch.setattr(server, "OLDEST", 990000)
    with pytest.raises(StoreError, match="PostgreSQL 14 or newer"):
        open_store(url)


def test_a_database_that_is_not_utf_8():
    with psycopg.connect(pg.url(), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS plait_latin")
        connection.execute("CREATE DATABASE plait_latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        try:
            with pytest.raises(StoreError, match="encoding LATIN1"):
                open_store(with_database(pg.url(), "plait_latin"))
        finally:
            connection.execute("DROP DATABASE plait_latin")


@pytest.mark.parametrize(
    ("more", "mode"),
    [
        ("", "on"),
        ("&options=-csynchronous_commit%3Doff", "on"),
        ("&options=-csynchronous_commit%3Dremote_apply", "remote_apply"),
        ("&synchronous_commit=off", "off"),
    ],
)
def test_commits_are_durable_unless_the_url_says_otherwise(url, more, mode):
    with contextlib.closing(open_store(url + more)) as store:
        assert isinstance(store, PostgresStore)
        assert store._writer.connection().execute("SHOW synchronous_commit").fetchone() == (mode,)
        assert ("synchronous_commit" in store.url) == bool(more)


def test_two_schemas_are_two_stores(url):
    with pg.schema() as other, contextlib.closing(open_store(url)) as one, contextlib.closing(open_store(other)) as two:
        create(one, run_row())
        assert two.get_run("r1") is None


def test_nothing_is_connected_when_all_is_closed(url):
    store = open_store(f"{url}&application_name=plait_closed")
    create(store, run_row())
    store.renew(owner_row())
    store.get_run("r1")
    with raw(url) as connection:
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'plait_closed'"
        assert connection.execute(count).fetchone() == (3,)
        store.close()
        while connection.execute(count).fetchone() != (0,):  # the server takes a moment
            pass


# --- the schema ------------------------------------------------------------------------------------------------------


def test_tables_of_something_else_are_left_alone(url):
    with raw(url) as connection:
        connection.execute(f"CREATE SCHEMA {schema_of(url)}")
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        for use in (open_store, status, upgrade):
            with pytest.raises(StoreError, match=r"not plait's.*\?schema=NAME"):
                use(url)
        connection.execute("DROP TABLE alembic_version")
    assert status(url) == (None, revisions.HEAD)
    open_store(url).close()


def test_status_of_what_is_not_there_makes_nothing(url):
    assert status(url) == (None, revisions.HEAD)
    with raw(url) as connection:
        assert connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema_of(url),)).fetchone() is None


def test_a_newer_schema_is_refused(url):
    open_store(url).close()
    with raw(url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="newer plait"):
        open_store(url)
    assert status(url) == ("9999", revisions.HEAD)


def test_a_schema_that_goes_while_it_is_used(url):
    with contextlib.closing(open_store(url)) as store:
        pg.drop(schema_of(url))
        for act in (lambda: store.get_run("r1"), lambda: create(store, run_row()), lambda: store.renew(owner_row())):
            with pytest.raises(StoreError, match="plait db upgrade"):
                act()


def described(url: str) -> set[tuple]:
    """Every column, index, constraint and option of a schema."""
    with raw(url) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name, data_type, is_nullable, column_default, collation_name, is_identity "
            "FROM information_schema.columns WHERE table_schema = current_schema"
        ).fetchall()
        indices = connection.execute("SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = current_schema")
        options = connection.execute(
            "SELECT relname, reloptions::text, obj_description(oid, 'pg_class') FROM pg_class "
            "WHERE relnamespace = current_schema::regnamespace"
        ).fetchall()
        plain = [(table, text.replace(schema_of(url), "")) for table, text in indices.fetchall()]
    return {*columns, *plain, *options}


def test_the_full_schema_is_that_of_all_migrations(url):
    open_store(url).close()
    with pg.schema() as other:
        migrate.run_migrations(server.Server(parse(other)))
        assert described(other) == described(url)
        with contextlib.closing(open_store(other)) as store:
            create(store, run_row())
            assert store.get_run("r1") == run_row()


def test_the_list_of_revisions_is_that_of_the_files():
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(migrating.config(migrate.FOLDER))
    assert tuple(script.revision for script in reversed(list(scripts.walk_revisions()))) == revisions.REVISIONS


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
def two_more(tmp_path, monkeypatch, url):
    """A version of plait with two more revisions, and an older schema with one run."""
    with contextlib.closing(open_store(url)) as store:
        create(store, run_row())
    folder = tmp_path / "migrations %20"
    shutil.copytree(migrate.FOLDER, folder)
    names = (*revisions.REVISIONS, "9001", "9002")
    for before, revision in zip(names[-3:], names[-2:], strict=False):
        text = MIGRATION.format(revision=revision, before=before, more="")
        (folder / "versions" / f"{revision}_test.py").write_text(text)
    monkeypatch.setattr(migrate, "FOLDER", folder)
    monkeypatch.setattr(revisions, "REVISIONS", names)
    monkeypatch.setattr(revisions, "HEAD", "9002")
    return folder / "versions"


def test_an_older_schema_is_refused_until_it_is_upgraded(two_more, url):
    with pytest.raises(StoreError, match="plait db upgrade"):
        open_store(url, migrate=False)
    upgrade(url)
    assert status(url) == ("9002", "9002")
    with contextlib.closing(open_store(url, migrate=False)) as store:
        assert store.get_run("r1").reason == "90019002"
    upgrade(url)


def test_a_migration_that_fails_leaves_whole_revisions_and_is_resumed(two_more, url):
    script = two_more / "9002_test.py"
    good = script.read_text()
    script.write_text(MIGRATION.format(revision="9002", before="9001", more='op.execute("SELECT * FROM nowhere")'))
    with pytest.raises(StoreError, match="could not be migrated"):
        upgrade(url)
    assert status(url) == ("9001", "9002")
    script.write_text(good + "\n")
    upgrade(url)
    with contextlib.closing(open_store(url)) as store:
        assert store.get_run("r1").reason == "90019002"


def test_a_store_that_is_open_goes_on_while_two_others_migrate(two_more, url, monkeypatch):
    with monkeypatch.context() as old_version:
        old_version.setattr(revisions, "REVISIONS", revisions.REVISIONS[:-2])
        old_version.setattr(revisions, "HEAD", revisions.REVISIONS[-1])
        old = open_store(url)
    write(old, tasks=[task_row(0)])
    assert len(old.tasks("r1")) == 1
    failed = []

    def bring_up() -> None:
        try:
            upgrade(url)
        except StoreError as error:
            failed.append(error)

    threads = [threading.Thread(target=bring_up) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    create(old, run_row("after"))
    write(old, tasks=[task_row(1)], events=event_rows(1, 1))
    assert len(old.tasks("r1")) == 2
    old.close()


# --- rows -------------------------------------------------------------------------------------------------------------


def test_what_is_updated_stays_in_its_page(store):
    """The ends of task runs write no index: that is half of what the server does for a task."""
    create(store, run_row())
    rows = {"started_at": 1.0, "finished_at": 2.0, "log": b"x" * 64, "control": b"y" * 40}
    for first in range(0, 600, 200):
        write(store, tasks=[task_row(no, state="dispatched") for no in range(first, first + 200)])
        write(store, tasks=[task_row(no, state="success", **rows) for no in range(first, first + 200)])
    connection = store._writer.connection()
    connection.execute("SELECT pg_stat_force_next_flush()")
    connection.execute("SELECT 1")
    asked = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'tasks'::regclass"
    changed, stayed = connection.execute(asked).fetchone()
    assert stayed == changed > 0


# --- values ----------------------------------------------------------------------------------------------------------


def test_text_that_postgresql_does_not_take_is_kept_readable(store):
    create(store, run_row(reason="a\0b", target="caf\udce9", tags=("\udcff",), owner="dead"))
    write(store, tasks=[task_row(0, key="a\0b", reason="a\0b")])
    assert store.get_run("r1").reason == r"a\x00b"
    assert store.get_run("r1").target == r"caf\udce9"
    assert (store.task("r1", 0).key, store.task("r1", 0).reason) == (r"a\x00b", "a\0b")
    assert store.sweep(["dead"], "caf\udce9\0", 5.0) == ["r1"]
    assert store.tasks("r1")[0].state == "crashed"


def test_a_number_that_does_not_fit_is_told(store):
    create(store, run_row())
    with pytest.raises(StoreError, match="does not fit"):
        write(store, tasks=[task_row(2**31)])
    write(store, tasks=[task_row(0)])


def test_rows_that_contradict_are_refused(store):
    create(store, run_row())
    write(store, events=event_rows(1, 2))
    with pytest.raises(StoreError, match="contradicts"):
        write(store, events=event_rows(2, 2))
    write(store, events=event_rows(3, 3))


# --- retention -------------------------------------------------------------------------------------------------------


def test_a_large_run_is_deleted_in_parts_and_what_a_dead_process_left_goes_next():
    commits = []

    def die(point: str) -> None:
        commits.append(point)
        if commits.count("before_commit") == 3:
            raise KeyboardInterrupt

    dying = False
    with pg.emptied() as url:
        store = open_store(url, on_commit=lambda point: die(point) if dying else None)
        create(store, run_row(state="success", finished_at=1.0), run_row("r2", state="success", finished_at=1.0))
        for run_id in ("r1", "r2"):
            write(store, run_id, tasks=[task_row(no) for no in range(20)])
            for seq in range(1, 20):
                write(store, run_id, events=[EventRow(seq=seq, at=0.0, data=b"x")])
        dying = True
        with pytest.raises(KeyboardInterrupt):
            emptied(store, 7)
        dying = False
        assert store.list_runs() == []
        create(store, run_row())
        assert store.load_run("r1").tasks == []
        assert emptied(store, 7) == 0
        with raw(url) as connection:
            for table in ("tasks", "events", "trash"):
                assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)  # noqa: S608  from above
        store.close()


def test_a_graph_is_not_deleted_while_its_next_run_is_made(store):
    from plait.model.graph import Graph

    store.save_graph("h", Graph(name="w"))
    create(store, run_row(state="success", finished_at=1.0))
    with pg_other(store) as other:
        with store.transaction() as tx:
            tx.create_run(run_row("r2"))
            thread = threading.Thread(target=other.delete_runs, args=(2.0,))
            thread.start()
            wait_for_a_lock(store)
        thread.join()
        assert [row.run_id for row in other.list_runs()] == ["r2"]
        assert other.load_graph("h") is not None


@contextlib.contextmanager
def pg_other(store):
    """Another store object on the same schema."""
    base = pg.in_schema(store.server.schema)
    with contextlib.closing(open_store(base)) as other:
        yield other


def wait_for_a_lock(store) -> None:
    """Until another connection waits for a lock of this store's."""
    with psycopg.connect(pg.url(), autocommit=True) as connection:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
        while connection.execute(asked).fetchone() == (0,):
            pass


def test_opening_imports_no_migration_tools(url):
    import subprocess
    import sys

    script = f"""
import sys
from plait.adapters.stores.open import open_store, status

for _ in range(2):
    open_store({url!r}, migrate=True).close()
status({url!r})
print([name for name in ("alembic", "sqlalchemy", "mako", "pickle", "cloudpickle") if name in sys.modules])
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "[]\n"
