"""From a URL to a store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from plait.model.errors import StoreError
from plait.ports import RunStore


def sqlite_path(url: str) -> tuple[Path, dict[str, str]]:
    """The file and the options of a SQLite URL (`sqlite:///relative`, `sqlite:////absolute`) or of a bare path."""
    if "://" not in url:
        return Path(url).expanduser().absolute(), {}
    parts = urlsplit(url)
    if parts.scheme != "sqlite":
        raise StoreError(_unknown(url, parts.scheme))
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    text = url.split("?", 1)[0].removeprefix("sqlite://").removeprefix("/")
    if not text:
        raise StoreError(f"{url!r} names no file; write sqlite:///plait.db or sqlite:////absolute/path/plait.db")
    return Path(text).expanduser().absolute(), options


def _unknown(url: str, scheme: str) -> str:
    if scheme.startswith("postgres"):
        return f"{url!r}: PostgreSQL is not supported in this version yet; use sqlite:///path"
    return f"{url!r}: plait knows no database {scheme!r}; use sqlite:///path or memory://"


def open_store(url: str, *, migrate: bool = True) -> RunStore:
    """The store at a URL: `sqlite:///path[?synchronous=NORMAL]`, a bare path, or `memory://`.

    A fresh file gets the schema; an older one is upgraded if `migrate`, else StoreError names `plait db upgrade`.
    """
    if url.startswith("memory:"):
        from plait.adapters.stores.memory import MemoryStore

        return MemoryStore()
    from plait.adapters.stores.sqlite.store import SqliteStore

    path, options = sqlite_path(url)
    return SqliteStore(path, migrate=migrate, synchronous=options.get("synchronous", "FULL"))


def status(url: str) -> tuple[str | None, str]:
    """The schema's revision in the database (none: fresh) and the one of this version."""
    from plait.adapters.stores.sqlite import migrate

    return migrate.status(sqlite_path(url)[0])


def upgrade(url: str) -> None:
    """Bring the database to this version's schema."""
    open_store(url, migrate=True).close()
