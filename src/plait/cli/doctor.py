"""`plait doctor`: whether this machine has what plait needs."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from plait.cli.common import print_json, settings
from plait.cli.options import db_option, json_option

if TYPE_CHECKING:
    from plait.bootstrap import Settings

OLDEST_SQLITE = (3, 35, 0)
"""RETURNING and UPSERT; 3.35 is of March 2021."""
LITTLE_SPACE = 500 << 20
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afpfs", "fuse.sshfs", "glusterfs", "ceph", "lustre"}
PACKAGES = ("click", "rich", "msgspec", "pydantic", "cronsim", "cloudpickle", "fsspec", "alembic")


class Finding(msgspec.Struct, frozen=True):
    """What was looked at, what was found, and whether that is good. `hint` says what to do."""

    name: str
    found: str
    ok: bool = True
    hint: str = ""


@click.command()
@json_option
@db_option
def doctor(as_json: bool) -> int:
    """Check that this machine has what plait needs. Exit code 1 if something is wrong.

    \b
      plait doctor
      plait doctor --json
    """
    findings = list(look(settings()))
    good = all(finding.ok for finding in findings)
    if as_json:
        print_json({"ok": good, "checks": findings})
        return 0 if good else 1
    from plait.cli import tables

    for finding in findings:
        mark = tables.paint("ok   ", "green") if finding.ok else tables.paint("wrong", "bold red")
        click.echo(f"{mark}  {finding.name:<16} {finding.found}")
        if finding.hint:
            click.echo(f"{'':<24}{finding.hint}")
    click.echo("\neverything is fine" if good else "\nsomething is wrong")
    return 0 if good else 1


def look(where: Settings) -> Iterator[Finding]:
    """All findings, one after the other. A check that breaks is a finding itself."""
    checks: list[Callable[[], Finding]] = [
        python,
        system,
        forking,
        sqlite_version,
        packages,
        lambda: space(where.home),
        lambda: file_system(where.home),
        lambda: database(where),
        lambda: writable("results", where.results),
    ]
    for check in checks:
        try:
            yield check()
        except Exception as error:  # noqa: BLE001  whatever is broken, the other checks are wanted too
            yield Finding(getattr(check, "__name__", "check"), f"{type(error).__name__}: {error}", ok=False)


def python() -> Finding:
    """The interpreter."""
    version = platform.python_version()
    ok = (3, 11) <= sys.version_info[:2] < (3, 14)
    hint = "" if ok else "plait needs Python 3.11, 3.12 or 3.13"
    return Finding("python", f"{version} ({sys.executable})", ok, hint)


def system() -> Finding:
    """The operating system: worker processes are forked."""
    name = f"{platform.system()} {platform.release()} ({platform.machine()}), {os.cpu_count()} cores"
    if sys.platform in ("linux", "darwin"):
        return Finding("system", name)
    return Finding(
        "system", name, ok=False, hint="plait runs on Linux and macOS; on Windows use it in WSL (wsl --install)"
    )


def forking() -> Finding:
    """Whether a child process can be forked and waited for."""
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return Finding("fork", "works" if code == 7 else f"a child ended with {code}", code == 7)


def sqlite_version() -> Finding:
    """The SQLite that Python was built with."""
    ok = sqlite3.sqlite_version_info >= OLDEST_SQLITE
    hint = "" if ok else f"plait needs SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer"
    return Finding("sqlite", sqlite3.sqlite_version, ok, hint)


def packages() -> Finding:
    """The versions of what plait is made from."""
    found: list[str] = []
    missing: list[str] = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    hint = f"missing: {', '.join(missing)}; install plait again" if missing else ""
    return Finding("packages", ", ".join(found), not missing, hint)


def space(home: Path) -> Finding:
    """Free space where plait keeps things."""
    free = shutil.disk_usage(_nearest(home)).free
    ok = free >= LITTLE_SPACE
    return Finding("disk", f"{free / (1 << 30):.1f} GB free", ok, "" if ok else f"less than {LITTLE_SPACE >> 20} MB")


def file_system(home: Path) -> Finding:
    """The file system: SQLite's locks do not hold on network ones."""
    kind = _file_system_of(_nearest(home))
    ok = kind not in NETWORK
    hint = "" if ok else "SQLite is not safe on a network file system: set PLAIT_HOME to a local folder"
    return Finding("file system", f"{kind} at {_nearest(home)}", ok, hint)


def database(where: Settings) -> Finding:
    """Whether the database opens and can be written."""
    from plait import bootstrap
    from plait.model.errors import PlaitError
    from plait.model.ids import RunId

    try:
        store = bootstrap.open_store(where)
        try:
            store.save_limits([])
            with store.transaction():
                pass
            store.find_runs(RunId("0"))
        finally:
            store.close()
    except PlaitError as error:
        return Finding("database", str(error), ok=False)
    return Finding("database", where.shown_db)


def writable(name: str, folder: str) -> Finding:
    """Whether a local folder can be written; one at a URL is the business of its file system."""
    if "://" in folder:
        return Finding(name, folder)
    nearest = _nearest(Path(folder))
    ok = os.access(nearest, os.W_OK)
    return Finding(name, folder, ok, "" if ok else f"{nearest} cannot be written")


def _nearest(path: Path) -> Path:
    """The path, or what exists of it."""
    return next(each for each in (path, *path.parents) if each.exists())


def _file_system_of(path: Path) -> str:
    """The type of the file system that a path lies on, as far as the system tells."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return "unknown"
    best, kind = "", "unknown"
    for line in mounts.read_text().splitlines():
        _, point, name, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        inside = path.resolve().is_relative_to(point)
        if inside and len(point) >= len(best):
            best, kind = point, name
    return kind
