"""What SQLite says, told so that the reader knows what to do."""

import sqlite3
from pathlib import Path

from plait.model.errors import StoreError

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

_RIGHTS = "check the permissions of the file and of its folder, which holds two more files while the database is open"
_TOLD = {
    sqlite3.SQLITE_FULL: "cannot grow, its disk is full: free some space; nothing that was recorded is lost",
    sqlite3.SQLITE_READONLY: f"is read-only: {_RIGHTS}",
    sqlite3.SQLITE_PERM: f"may not be used: {_RIGHTS}",
    sqlite3.SQLITE_AUTH: f"may not be used: {_RIGHTS}",
    sqlite3.SQLITE_CANTOPEN: f"cannot be opened: {_RIGHTS}; or this process has too many files open",
    sqlite3.SQLITE_NOTADB: "is not a database (or is encrypted): choose another file",
    sqlite3.SQLITE_CORRUPT: "is damaged: stop every process that uses it, then restore a backup, "
    "or save what can be saved with `sqlite3 FILE .recover`",
    sqlite3.SQLITE_IOERR: "cannot be read or written, the disk reports an error: look at the system's log",
    sqlite3.SQLITE_PROTOCOL: "cannot be locked, its file system has no working locks: move it to a local disk",
    sqlite3.SQLITE_NOLFS: "has reached the greatest size that its file system allows: move it to another one",
    sqlite3.SQLITE_TOOBIG: "does not take a value of that size: keep large values in the result store",
}


def code_of(error: sqlite3.Error) -> int:
    """SQLite's primary result code, 0 where Python's own checks failed."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection is at it, and trying again helps."""
    return code_of(error) in _BUSY


def told(error: sqlite3.Error, path: Path) -> StoreError:
    """The same as a StoreError that says what to do."""
    code = code_of(error)
    if code in _BUSY:
        return StoreError(
            f"{path} has been held by another process for too long ({error}): look for a backup, a `sqlite3` shell "
            "or a stopped process that keeps it open"
        )
    if code in _TOLD:
        return StoreError(f"{path} {_TOLD[code]} ({error})")
    if code == sqlite3.SQLITE_CONSTRAINT:
        return StoreError(f"{path} refuses a row that contradicts what is there ({error})")
    return StoreError(f"{path}: {error}")
