"""Running the command: as a process of its own, where exit codes and streams are what is asked for."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import plait as plait_itself

FILES = Path(__file__).parent / "files"


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout."""
        return json.loads(self.out)


class Command:
    """`plait` in a project folder of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.notes = folder / "notes.txt"
        self.started: list[subprocess.Popen[str]] = []
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("PLAIT_") and name != "COLUMNS"
        }
        kept["PYTHONPATH"] = str(Path(plait_itself.__file__).parents[1])  # the plait that is tested, wherever it lies
        self.env = {**kept, "PLAIT_HOME": str(folder / "home"), "NOTES": str(self.notes), "PYTHONIOENCODING": "utf-8"}

    def start(self, *args: object, **env: str) -> subprocess.Popen[str]:
        """Start it in a process group of its own."""
        process = subprocess.Popen(
            [sys.executable, "-m", "plait", *map(str, args)],
            cwd=self.folder,
            env={**self.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def close(self) -> None:
        """Kill what a failed test left."""
        for process in self.started:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()

    def __call__(self, *args: object, code: int | None = 0, **env: str) -> Result:
        """Run it to its end; it has to end with this exit code (none: with any)."""
        process = self.start(*args, **env)
        out, err = process.communicate(timeout=60)
        if code is not None:
            assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
        return Result(process.returncode, out, err)

    def noted(self) -> list[str]:
        """What the tasks noted."""
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    def last_run(self) -> dict[str, Any]:
        """The newest run."""
        return self("runs", "list", "--json", "--limit", 1).json["runs"][0]


@pytest.fixture
def plait(tmp_path: Path) -> Iterator[Command]:
    """The command in an empty folder."""
    command = Command(tmp_path)
    yield command
    command.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The command in a folder that the tests of a module share."""
    command = Command(tmp_path_factory.mktemp("shared"))
    yield command
    command.close()


@pytest.fixture
def files() -> Path:
    """The folder of definitions for these tests."""
    return FILES
