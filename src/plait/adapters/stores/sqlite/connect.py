"""Opening a SQLite file: pragmas, what can be wrong with it, and BEGIN that outwaits other writers (F13, F14)."""

import os
import sqlite3
import time
from pathlib import Path

from plait.model.errors import StoreError

BEGIN_PATIENCE = 120.0
"""Seconds that a writer waits for others before it gives up."""
BUSY_MS = 5000
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "afs", "9p", "glusterfs", "ceph", "lustre"}


def connect(path: Path, *, synchronous: str, readonly: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode. Raises StoreError that says what to do."""
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
        connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        _to_wal(connection, path)
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute("PRAGMA cache_size=-8000")
        connection.execute("PRAGMA temp_store=MEMORY")
        if readonly:
            connection.execute("PRAGMA query_only=ON")
    except sqlite3.Error as error:
        raise explained(error, path) from error
    return connection


def _to_wal(connection: sqlite3.Connection, path: Path) -> None:
    """Switch to WAL; while another process does the same, SQLite answers `locked` without waiting."""
    deadline = time.monotonic() + BEGIN_PATIENCE
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    if mode != "wal":
        raise StoreError(f"{path} cannot be used in WAL mode (it is in {mode} mode); put the database on a local disk")


def begin(connection: sqlite3.Connection, path: Path) -> None:
    """BEGIN IMMEDIATE, waiting for other writers as long as it takes (at most BEGIN_PATIENCE)."""
    deadline = time.monotonic() + BEGIN_PATIENCE
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) and "busy" not in str(error):
                raise explained(error, path) from error
            if time.monotonic() > deadline:
                raise StoreError(
                    f"another process has been writing to {path} for {BEGIN_PATIENCE:g} s; end it, or use another database"
                ) from error
            time.sleep(0.002)


def explained(error: sqlite3.Error, path: Path) -> StoreError:
    """What a SQLite error means for a person."""
    text = str(error)
    if "disk is full" in text or "disk I/O" in text:
        return StoreError(f"the disk of {path} is full or broken ({text}); nothing half-written was kept. Free room, then resume")
    if "not a database" in text or "malformed" in text:
        return StoreError(f"{path} is not a database of plait ({text}); move it away, or use another with --db")
    if "readonly" in text or "unable to open" in text:
        return StoreError(f"{path} cannot be written ({text}); check its folder's rights, or use another with --db")
    return StoreError(f"{path}: {text}")


def check_place(path: Path) -> None:
    """Refuse what cannot work: a folder, a network file system (locks and WAL are not safe there)."""
    if path.is_dir():
        raise StoreError(f"{path} is a folder, not a database file; name a file in it, for instance {path / 'plait.db'}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the folder {path.parent} cannot be made: {error.strerror}") from error
    kind = file_system(path.parent)
    if kind in NETWORK and not os.environ.get("PLAIT_ALLOW_NETWORK_DISK"):
        raise StoreError(
            f"{path} lies on a network file system ({kind}), where SQLite can lose data; "
            "put the database on a local disk (--db or PLAIT_HOME), or use PostgreSQL"
        )


def file_system(folder: Path) -> str:
    """The type of the file system that a folder lies on, empty where it is not known."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    real = folder.resolve()
    best, kind = "", ""
    for line in mounts:
        _, point, found, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        if (real == Path(point) or Path(point) in real.parents) and len(point) >= len(best):
            best, kind = point, found
    return kind
