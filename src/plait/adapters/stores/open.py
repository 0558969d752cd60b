"""Opens a store by its URL. Only what is asked for is imported."""

from collections.abc import Callable

from plait.adapters.stores.urls import POSTGRES, Address, parse
from plait.model.errors import StoreError
from plait.ports import RunStore


def open_store(url: str, *, migrate: bool = True, on_commit: Callable[[str], None] | None = None) -> RunStore:
    """Open (and, where it is not there yet, make) the store of a URL: `sqlite:///path`, a bare path, `memory://`,
    `postgresql://user:password@host/database`.

    `migrate`: bring a store of an older version up to date, instead of raising StoreError. Options of SQLite:
    `?synchronous=NORMAL`; of PostgreSQL: `?schema=plait` (where the tables are), `?synchronous_commit=off`. `on_commit`
    is for tests that inject faults.
    """
    address = parse(url)
    if address.scheme == "memory":
        from plait.adapters.stores.memory import MemoryStore

        return MemoryStore(on_commit=on_commit)
    if address.scheme == POSTGRES:
        check_driver()
        from plait.adapters.stores.postgres.store import PostgresStore

        return PostgresStore(address, migrate=migrate, on_commit=on_commit)
    from plait.adapters.stores.sqlite.store import SqliteStore

    assert address.path is not None  # `parse` names a file for every other scheme
    synchronous = _sqlite_options(address)
    return SqliteStore(address.path, synchronous=synchronous, migrate=migrate, on_commit=on_commit)


def _sqlite_options(address: Address) -> str:
    unknown = sorted(set(address.options) - {"synchronous"})
    if unknown:
        raise StoreError(f"a SQLite URL has no option {unknown[0]!r}; it knows synchronous=FULL and synchronous=NORMAL")
    return address.options.get("synchronous", "FULL")


def check_driver() -> None:
    """Raise StoreError where what speaks to PostgreSQL is not installed."""
    try:
        import psycopg  # noqa: F401  is it there?
    except ImportError as error:
        raise StoreError(
            f"PostgreSQL needs the package psycopg, which is not there ({error}): pip install 'plait[postgres]'"
        ) from error


def status(url: str) -> tuple[str | None, str]:
    """The revision of a store's schema, none where there is no store yet, and the newest one. Changes nothing."""
    address = parse(url)
    if address.scheme == POSTGRES:
        check_driver()
        from plait.adapters.stores.postgres import revisions
        from plait.adapters.stores.postgres.server import Server

        return revisions.read_revision(Server(address)), revisions.HEAD
    if address.path is None:
        return "memory", "memory"
    from plait.adapters.stores.sqlite.revisions import HEAD, read_revision

    return read_revision(address.path), HEAD


def upgrade(url: str) -> None:
    """Bring a store's schema to the newest revision, making it where there is none."""
    open_store(url, migrate=True).close()
