"""The command's face: help, version, completion, errors and exit codes."""

import importlib
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from plait import __version__
from plait.cli.backfills import COMMANDS as BACKFILLS
from plait.cli.main import COMMANDS, cli
from plait.cli.partitions import COMMANDS as PARTITIONS
from plait.cli.runs import COMMANDS as RUNS
from plait.cli.schedules import COMMANDS as SCHEDULES
from tests.cli.conftest import Command

HEAVY = {"rich", "pydantic", "sqlite3", "asyncio", "plait.bootstrap", "plait.cli.run"}


@pytest.mark.parametrize("args", [("--help",), ("--version",), ("runs", "--help")])
def test_help_imports_nothing_heavy(args: tuple[str, ...]) -> None:
    """What it costs is measured by `python -m bench.cases start`."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "plait", *args], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & HEAVY


def test_help_names_every_command() -> None:
    done = subprocess.run([sys.executable, "-m", "plait", "--help"], capture_output=True, text=True, check=True)
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout


def test_version() -> None:
    assert CliRunner().invoke(cli, ["--version"]).output == f"plait {__version__}\n"


def _commands() -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    groups = (("runs ", RUNS), ("schedules ", SCHEDULES), ("backfills ", BACKFILLS), ("partitions ", PARTITIONS))
    for prefix, table in (("", COMMANDS), *groups):
        for name, (where, _) in table.items():
            module, _, attribute = where.partition(":")
            found.append((prefix + name, getattr(importlib.import_module(module), attribute)))
    return found


@pytest.mark.parametrize(("name", "command"), _commands())
def test_every_command_explains_itself(name: str, command: click.Command) -> None:
    """Each has a text, takes --db, and (but for groups) shows an example."""
    output = CliRunner().invoke(cli, [*name.split(), "--help"]).output
    assert command.help
    assert "--db" in output or name == "completion"
    if not isinstance(command, click.Group):
        assert f"plait {name}" in output.partition("Options:")[0].partition("\n\n")[2]
    assert all(option.help for option in command.params if isinstance(option, click.Option))


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["chekc"], "Did you mean 'check'?"),
        (["runs", "lsit"], "Did you mean 'list'?"),
        (["check"], "Missing argument 'TARGET'"),
        (["list", "/there/is/none.py"], "there is no file or folder"),
        (["list", "there_is_no_such_module"], "no file, folder or module"),
        (["--db", "oracle://x", "runs", "list"], "oracle"),
        (["runs", "show", "0000"], "there is no run '0000'"),
        (["runs", "list", "--state", "fine"], "fine"),
    ],
)
def test_wrong_use_is_told_without_a_traceback(shared: Command, args: list[str], told: str) -> None:
    result = shared(*args, code=2)
    assert told in result.err
    assert "Traceback" not in result.err
    assert result.out == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, shared: Command) -> None:
    assert "_PLAIT_COMPLETE" in shared("completion", shell).out


def test_completion_offers_commands_and_runs(shared: Command, files: Path) -> None:
    def offered(line: str) -> str:
        words = {"_PLAIT_COMPLETE": "zsh_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
        return shared(**words).out

    assert "runs" in offered("plait ru")
    for command in ("run", "check", "list", "graph"):
        assert offered(f"plait {command} work") == "file\nwork\n_\n"  # the shell completes it as a path
    run_id = shared("run", files / "one.py", "--json", "--executor", "inline").json["run_id"]
    assert run_id in offered("plait runs show 0")


def test_a_reader_that_goes_away_is_no_error(shared: Command, files: Path) -> None:
    process = shared.start("graph", files / "work.py", "many", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 141


@pytest.mark.parametrize(("name", "command"), _commands())
def test_the_reference_knows_every_command_and_option(name: str, command: click.Command) -> None:
    reference = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    commands = command.commands if isinstance(command, click.Group) else {"": command}
    for sub, each in commands.items():
        head = f"\n## plait {name} {sub}".rstrip() + "\n"
        assert head in reference or name in ("runs", "schedules")
        section = reference.partition(head)[2].partition("\n## ")[0]
        for option in each.params:
            if isinstance(option, click.Option) and option.name not in (None, "db"):
                assert option.opts[-1] in section
