"""`plait dev`: a scheduler and a worker in one command, for a laptop.

Theory of operation. Both are processes of their own, with sessions of their own, so that Ctrl-C reaches this process
alone, which ends them in order: the worker first, so that what it gives back is recorded. Each holds the reading end
of a pipe that this process never writes to: however this process ends, they read the pipe's end and stop. One that dies
is started again, after a pause that grows.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import click

from plait.cli.common import say, settings
from plait.cli.options import db_option
from plait.cli.serving import PARENT, on_end, on_signal

ANYHOW = 60.0
LONGEST_PAUSE = 10.0
STEADY = 10.0
"""Seconds after which a process that dies is started again at once."""
TO_END = 10.0
"""Seconds that a process that was told to end may take, besides the grace that its tasks have."""


@click.command()
@click.argument("targets", nargs=-1, required=True, type=click.Path(exists=True))
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="How many tasks at once.")
@click.option("--grace", type=click.FloatRange(min=0), default=5.0, show_default=True, metavar="SECONDS",
              help="How long tasks may go on when it ends.")  # fmt: skip
@click.option("--load-timeout", type=click.FloatRange(min=0.1), default=30.0, show_default=True, metavar="SECONDS",
              help="How long one file may take to load.")  # fmt: skip
@db_option
def dev(targets: tuple[str, ...], workers: int | None, grace: float, load_timeout: float) -> int:
    """Run a scheduler for TARGETS (files and folders) and a worker, until Ctrl-C. Files are loaded again when they
    change.

    \b
      plait dev flows.py
      plait runs start flows.py every_morning
    """
    found = settings()
    os.environ["PLAIT_DB"] = found.db  # not an argument: a password would stand in the list of processes
    options = ["--workers", str(workers)] if workers is not None else []
    children = [
        Child("worker", ["worker", "--grace", str(grace), *options], grace),
        Child("scheduler", ["scheduler", "--load-timeout", str(load_timeout), *targets]),
    ]
    done, changed = threading.Event(), threading.Event()

    def stop() -> None:
        done.set()
        changed.set()

    on_end(stop)
    on_signal((signal.SIGCHLD,), changed.set)
    say(f"plait: {found.shown_db}; Ctrl-C ends it")
    try:
        while not done.is_set():
            changed.clear()
            changed.wait(min(child.look_after() for child in children))
    finally:
        for child in children:
            child.end()
    return 0


class Child:
    """A process of plait that is kept running."""

    def __init__(self, name: str, args: Sequence[str], grace: float = 0.0):
        self._name = name
        self._args = [sys.executable, "-m", "plait", *args]
        self._patience = grace + TO_END
        self._process: subprocess.Popen[bytes] | None = None
        self._ours = self._theirs = -1
        self._began = 0.0
        self._pause = 0.5
        self._start_at = 0.0

    def _start(self) -> None:
        self._theirs, self._ours = os.pipe()
        environment = {**os.environ, PARENT: str(self._theirs)}
        self._process = subprocess.Popen(
            self._args, env=environment, pass_fds=[self._theirs], start_new_session=True, stdin=subprocess.DEVNULL
        )
        os.close(self._theirs)
        self._began = time.monotonic()

    def look_after(self) -> float:
        """Start it if it does not run; returns after how many seconds it is to be looked at again, if nothing happens
        before."""
        now = time.monotonic()
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return ANYHOW
            os.close(self._ours)
            self._process = None
            self._pause = 0.5 if now - self._began > STEADY else min(LONGEST_PAUSE, self._pause * 2)
            self._start_at = now + self._pause
            say(f"plait: the {self._name} ended ({_how(code)}); it is started again in {self._pause:g} s")
        if now < self._start_at:
            return self._start_at - now
        self._start()
        return ANYHOW

    def end(self) -> None:
        """End it in order; kill it when it takes too long."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(self._patience)
            if code:
                say(f"plait: the {self._name} did not end in order ({_how(code)})")
        except subprocess.TimeoutExpired:
            say(f"plait: the {self._name} did not end within {self._patience:g} s and is killed")
            self._process.kill()
            self._process.wait()
        os.close(self._ours)


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
