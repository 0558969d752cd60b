"""Starts processes of plait in no time: it has imported everything, and forks.

python -m tests.service.kills.nursery

Each line on its input is a JSON object: `args` of the command line, `env`, `cwd`, `log` and the process `group` to join
(0: one of its own). It answers with the number of the process. At the end of its input it kills what is left. It has no
threads, so a fork is as good as a start; what it forks runs what `plait` would run.
"""

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[3]
HOOK = Path(__file__).parent / "hook"


class Nursery:
    """The nursery as a test sees it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.service.kills.nursery"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HOOK), *filter(None, sys.path)])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,  # Ctrl-C is for us, not for it
        )
        assert self._answer() == "ready"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def start(self, args: list[str], *, env: dict[str, str], cwd: Path, log: Path, group: int = 0) -> int:
        """Start `plait ARGS`; its number. `group`: the process group that it joins, else it leads one of its own."""
        assert self._process.stdin is not None
        env = {**env, "PYTHONPATH": os.pathsep.join([str(HOOK), env["PYTHONPATH"]])}
        wanted = {"args": args, "env": env, "cwd": str(cwd), "log": str(log), "group": group}
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        return int(self._answer())

    def close(self) -> None:
        """End it, and what it started."""
        self._process.communicate()


# --- the process of the nursery --------------------------------------------------------------------------------------


def main() -> None:
    """Serve until the input ends."""
    _import_everything()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who ends is gone at once, and no zombie
    started: set[int] = set()
    gc.freeze()
    _say("ready")
    for line in sys.stdin:
        wanted = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(wanted)
        _join(pid, wanted)
        started.add(pid)
        _say(pid)
    for pid in started:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def _import_everything() -> None:
    import plait.adapters.clock
    import plait.adapters.executors.processes
    import plait.adapters.ids
    import plait.adapters.stores.postgres.store
    import plait.adapters.stores.sqlite.store
    import plait.adapters.workers.agent
    import plait.adapters.workers.hub
    import plait.bootstrap.service
    import plait.cli.main
    import plait.cli.scheduler
    import plait.cli.serving
    import plait.cli.worker
    import plait.runtime.service_threads
    import plait.services.deployments  # noqa: F401  they are here for who is forked


def _join(pid: int, wanted: dict[str, Any]) -> None:
    """Into its process group: both do it, so that it is done whoever is first. The group's leader may be dead."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.setpgid(pid, wanted["group"] or pid)


def _become(wanted: dict[str, Any]) -> NoReturn:
    """In the child."""
    import sitecustomize

    from plait.cli.main import run_cli

    code = 70
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _join(os.getpid(), wanted)
        log = os.open(wanted["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for fd in (1, 2):
            os.dup2(log, fd)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.clear()
        os.environ.update(wanted["env"])
        os.chdir(wanted["cwd"])
        sys.argv = ["plait", *wanted["args"]]
        warnings.resetwarnings()
        sitecustomize.arm()
        code = run_cli(wanted["args"])
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
