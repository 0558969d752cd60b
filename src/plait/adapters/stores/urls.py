"""How a database is named: `sqlite:///relative.db`, `sqlite:////absolute.db`, a bare path, `memory://`,
`postgresql://user:password@host:5432/database`."""

import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote

import msgspec

from plait.model.errors import StoreError

EXAMPLES = "sqlite:///plait.db, a path, memory://, or postgresql://user@host/database"
POSTGRES = "postgresql"
POSTGRES_OPTIONS = ("schema", "synchronous_commit")
_PASSWORD = re.compile(r"(password=)[^&]*")


class Address(msgspec.Struct, frozen=True):
    """A database's URL, taken apart. `path` is absolute, and none where the database is not a file; `options` are those
    of plait's own; `server` is the URL of a server without them, as libpq takes it."""

    scheme: str
    path: Path | None = None
    options: dict[str, str] = {}
    server: str = ""


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
    if scheme.split("+")[0] in (POSTGRES, "postgres"):
        return _postgres(rest)
    raise StoreError(f"plait has no store for {scheme}:// ({shown(url)}); use {EXAMPLES}")


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


def _postgres(rest: str) -> Address:
    place, _, query = rest.partition("?")
    options: dict[str, str] = {}
    others: list[str] = []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name in POSTGRES_OPTIONS:
            options[name] = unquote(value)
        elif part:
            others.append(part)
    return Address(POSTGRES, None, options, f"{POSTGRES}://{place}" + ("?" + "&".join(others) if others else ""))


def shown(url: str) -> str:
    """The URL as people may see it: without a password."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() in ("sqlite", "memory"):
        return url
    user, at, place = rest.rpartition("@")  # the last one: a password may hold an @ that should have been %40
    name, colon, _ = user.partition(":")
    return f"{scheme}://{name}{':***' if colon else ''}{at}" + _PASSWORD.sub(r"\1***", place)
