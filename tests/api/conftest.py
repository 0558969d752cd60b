"""Sessions and scripts of users, each with a home of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import plait
from plait.authoring import scope
from plait.bootstrap import Settings, load_settings, open_session
from plait.runtime.session import Session
from tests import pg
from tests.api.helpers import Script

SRC = Path(plait.__file__).parents[1]
Opener = Callable[..., Session]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[str]:
    """The database of this test alone: SQLite's or, with PLAIT_TEST_DB=postgres, PostgreSQL's."""
    if os.environ.get("PLAIT_TEST_DB") == "postgres":
        with pg.emptied() as url:
            yield url
    else:
        # What is committed survives the death of its process so, too; only not that of the machine.
        yield f"sqlite:///{tmp_path}/home/plait.db?synchronous=NORMAL"


@pytest.fixture
def home(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for plait of this test alone."""
    folder = tmp_path / "home"
    monkeypatch.setenv("PLAIT_HOME", str(folder))
    monkeypatch.setenv("PLAIT_DB", database)
    monkeypatch.delenv("PLAIT_RESULTS", raising=False)
    return folder


@pytest.fixture
def settings(home: Path) -> Settings:
    """The settings of that home."""
    return load_settings()


@pytest.fixture
def open_here(settings: Settings) -> Iterator[Opener]:
    """Opens a session that runs what the test calls; all are closed at the end."""
    opened: list[Session] = []

    def make(**options: object) -> Session:
        made = open_session(settings, echo=False, **options)
        opened.append(made)
        scope.provide_engine(lambda: made)
        return made

    yield make
    scope.provide_engine(plait._engine)
    for each in opened:
        each.close()


@pytest.fixture
def session(open_here: Opener) -> Session:
    """A session as a script has it: what it submits runs in threads."""
    return open_here()


@pytest.fixture(params=["inline", "threads", "processes"])
def each_executor(request: pytest.FixtureRequest) -> str:
    """One executor after the other."""
    return request.param


@pytest.fixture
def run_script(tmp_path: Path, home: Path) -> Callable[..., Script]:
    """Runs Python text as a script in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(SRC), "PLAIT_HOME": str(home)}

    def run(text: str, *arguments: str, name: str = "script.py", wait: bool = True) -> Script:
        file = tmp_path / name
        file.write_text(text)
        process = subprocess.Popen(
            [sys.executable, str(file), *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        script = Script(process)
        return script.wait() if wait else script

    return run
