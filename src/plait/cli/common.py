"""What commands share: settings and store of the call, output to the right stream, times and durations for people."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console

    from plait.bootstrap import Settings
    from plait.ports import LogReader, ResultStore, RunStore
    from plait.services.queries import RunQueries

STATE_STYLES = {
    "success": "green",
    "failed": "bold red",
    "crashed": "bold red",
    "upstream_failed": "red",
    "skipped": "cyan",
    "cancelled": "magenta",
    "cancelling": "magenta",
    "running": "yellow",
    "retry_wait": "yellow",
    "deferred": "blue",
    "paused": "bold blue",
}


def settings() -> Settings:
    """The settings of this call: `--db` before the environment before the project folder."""
    from plait.bootstrap import load_settings

    found = click.get_current_context().find_object(dict)
    return load_settings(found.get("db") if found else None)


@contextmanager
def open_store() -> Iterator[RunStore]:
    """The store of this call, closed at the end."""
    from plait import bootstrap

    store = bootstrap.open_store(settings())
    try:
        yield store
    finally:
        store.close()


@contextmanager
def open_queries() -> Iterator[RunQueries]:
    """The read models of this call's store."""
    from plait.services.queries import RunQueries

    with open_store() as store:
        yield RunQueries(store, result_store())


def result_store() -> ResultStore:
    """The results of this call's settings."""
    from plait import bootstrap

    return bootstrap.result_store(settings())


def log_reader() -> LogReader:
    """The logs of this call's settings."""
    from plait import bootstrap

    return bootstrap.log_reader(settings())


def ring(topic: str = "inbox") -> None:
    """Wake the other processes on this call's database."""
    from plait import bootstrap

    bus = bootstrap.open_bus(settings())
    bus.publish(topic)
    bus.close()


@contextmanager
def listen(heard: Callable[[], None]) -> Iterator[None]:
    """Call `heard` whenever another process on this call's database rings; a thread of the bus does."""
    from plait import bootstrap

    bus = bootstrap.open_bus(settings())
    bus.subscribe(lambda topic: heard())
    try:
        yield
    finally:
        bus.close()


# --- output -----------------------------------------------------------------------------------------------------------


def print_json(value: Any) -> None:
    """One JSON object on stdout. Structs become objects; text stays readable where the stream can show it."""
    import json

    import msgspec

    plain = msgspec.to_builtins(value, str_keys=True)
    ascii_only = "utf" not in (sys.stdout.encoding or "").lower()
    click.echo(json.dumps(plain, indent=2, ensure_ascii=ascii_only))


def console(stream: TextIO) -> Console:
    """A rich console on a stream. Where that is no terminal, lines are as long as they are."""
    from rich.console import Console

    there = is_terminal(stream)
    return Console(file=stream, width=None if there else 200, highlight=False, soft_wrap=not there)


def is_terminal(stream: TextIO) -> bool:
    """Whether people look at this stream as it is written."""
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # closed
        return False


def own_stream(stream: TextIO) -> TextIO:
    """A stream of our own on the same file: what replaces `sys.stderr` later does not come between."""
    try:
        fd = os.dup(stream.fileno())
    except (OSError, ValueError, AttributeError):  # a test's stream has no file
        return stream
    return open(fd, "w", encoding=stream.encoding or "utf-8", errors="backslashreplace", buffering=1)


@contextmanager
def users_code() -> Iterator[None]:
    """While user code is loaded or runs in this process: what it writes to stdout goes to stderr, also what a
    sub-process or native code writes. Stdout is for results."""
    try:
        out, err = sys.stdout.fileno(), sys.stderr.fileno()
        sys.stdout.flush()
        kept = os.dup(out)
    except (OSError, ValueError, AttributeError):  # closed, or a test's stream, which has no file
        yield
        return
    try:
        os.dup2(err, out)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, out)
        os.close(kept)


def say(text: str) -> None:
    """A line for people, on stderr."""
    click.echo(text, err=True)


# --- words ------------------------------------------------------------------------------------------------------------


def short_id(run_id: str) -> str:
    """The end of a run id, which is enough to name it: the beginning is the time, which runs share."""
    return run_id[-8:]


def seconds(value: float | None) -> str:
    """A duration for people: 35 ms, 1.2 s, 4:05, 2:10:00."""
    if value is None:
        return ""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def local_time(iso: str | None) -> str:
    """An ISO time as local time, to the second."""
    if iso is None:
        return ""
    return datetime.fromisoformat(iso.replace("Z", "+00:00")).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def styled(state: str) -> str:
    """A state in its colour, as rich markup."""
    style = STATE_STYLES.get(state)
    return f"[{style}]{state}[/]" if style else state


def near(path: str) -> str:
    """A path as people like it: relative to the current folder if it is below it."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
