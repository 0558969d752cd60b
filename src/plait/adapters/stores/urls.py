"""How a database is named: `sqlite:///relative.db`, `sqlite:////absolute.db`, a bare path, `memory://`,
`postgresql://...`."""

from pathlib import Path
from urllib.parse import parse_qsl

import msgspec

from plait.model.errors import StoreError

EXAMPLES = "sqlite:///plait.db, a path, or memory://"


class Address(msgspec.Struct, frozen=True):
    """A database's URL, taken apart. `path` is absolute, and none where the database is not a file."""

    scheme: str
    path: Path | None = None
    options: dict[str, str] = {}


def parse(url: str) -> Address:
    """Take a URL (or a bare path) apart. Raises StoreError for what no store here can open."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return Address("sqlite", _absolute(url, url))
    scheme = scheme.lower()
    if scheme == "memory":
        return Address("memory")
    if scheme == "sqlite":
        return _sqlite(url, rest)
    if scheme.split("+")[0] in ("postgresql", "postgres"):
        raise StoreError(f"PostgreSQL is not there yet in this version of plait; use {EXAMPLES}")
    raise StoreError(f"plait has no store for {scheme}:// ({url}); use {EXAMPLES}")


def _sqlite(url: str, rest: str) -> Address:
    place, mark, query = rest.rpartition("?")
    if not mark or "=" not in query:  # a question mark may be part of a file's name
        place, query = rest, ""
    if not place.startswith("/"):
        raise StoreError(f"{url} names a host; a file is sqlite:///relative.db or sqlite:////absolute.db")
    return Address("sqlite", _absolute(url, place[1:]), dict(parse_qsl(query, keep_blank_values=True)))


def _absolute(url: str, text: str) -> Path:
    if text == ":memory:":
        raise StoreError("SQLite's :memory: is one connection's own; use memory://")
    if not text:
        raise StoreError(f"{url!r} names no file; use {EXAMPLES}")
    return Path(text).expanduser().absolute()
