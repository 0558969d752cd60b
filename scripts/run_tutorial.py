"""Run what a Markdown page tells its reader to do, and check what it says they will see.

    python scripts/run_tutorial.py --python VENV/bin/python docs/tutorial.md

The page is followed from top to bottom in one temporary folder and one bash, as a reader would in one terminal: `cd`,
`export` and `&` last to the end of the page. Only two kinds of fenced blocks count:

- A block with a title, as in ```` ```python title="flows/etl.py" ````, is written to that file.
- A `console` block: each line that begins with `$ ` is a command; a line right after it that begins with `> `, or that
  follows a backslash at the end, continues it. Each command must end with status 0, or with N where the fence says
  `exit=N`. The other lines are output that must appear: together and in this order, with anything before and after
  them. A line `...` stands for any number of lines, and `...` within a line for any text.

Needs nothing but the standard library: it runs beside an installed plait, not inside it.
"""

import argparse
import contextlib
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

FENCE = re.compile(r"(?P<indent> *)(?P<mark>`{3,}|~{3,})(?P<info>[^`]*)")
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class PageError(Exception):
    """The page itself is wrong, or what it says did not happen. The message begins with file:line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A fenced block: where it opens, its language and attributes, its lines without the page's indentation."""

    line: int
    language: str
    attributes: dict[str, str]
    body: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file that the page has its reader write."""

    line: int
    path: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A command that the page has its reader run, the status it ends with and the output that they will see."""

    line: int
    text: str
    status: int
    expected: list[str]


Step = File | Command


def blocks(page: str, name: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    lines = enumerate(page.splitlines(), start=1)
    for number, line in lines:
        fence = FENCE.fullmatch(line)
        if fence is None:
            continue
        indent, mark = fence["indent"], fence["mark"]
        end = re.compile(rf" *{re.escape(mark[0])}{{{len(mark)},}} *")
        body: list[str] = []
        for _, inner in lines:
            if end.fullmatch(inner):
                break
            body.append(inner.removeprefix(indent))
        else:
            raise PageError(f"{name}:{number}: this fence is never closed")
        language, *words = shlex.split(fence["info"]) or [""]
        attributes = dict(word.partition("=")[::2] for word in words)
        yield Block(line=number, language=language, attributes=attributes, body=body)


def commands(block: Block, name: str) -> Iterator[Command]:
    """The commands of a console block."""
    status = int(block.attributes.get("exit", "0"))
    command: Command | None = None
    for number, line in enumerate(block.body, start=block.line + 1):
        if line.startswith("$ "):
            if command is not None:
                yield command
            command = Command(line=number, text=line[2:], status=status, expected=[])
        elif command is None:
            raise PageError(f"{name}:{number}: a console block begins with a line '$ command', not with '{line}'")
        elif not command.expected and (line.startswith("> ") or command.text.endswith("\\")):
            text = f"{command.text}\n{line.removeprefix('> ')}"
            command = Command(line=command.line, text=text, status=status, expected=[])
        else:
            command.expected.append(line)
    if command is not None:
        yield command


def steps(page: str, name: str) -> Iterator[Step]:
    """What the page has its reader do, in order."""
    for block in blocks(page, name):
        if block.language == "console":
            yield from commands(block, name)
        elif title := block.attributes.get("title"):
            path = PurePosixPath(title)
            if path.is_absolute() or ".." in path.parts:
                raise PageError(f"{name}:{block.line}: '{title}' lies outside of the reader's folder")
            yield File(line=block.line, path=title, text="".join(f"{line}\n" for line in block.body))


def missing(expected: list[str], output: str) -> list[str]:
    """The first lines of `expected` that `output` does not have, or [] where it has them all."""
    lines = [line.rstrip() for line in ANSI.sub("", output).splitlines()]
    start = 0
    for chunk in _chunks(expected):
        patterns = [re.compile(".*".join(map(re.escape, line.split("...")))) for line in chunk]
        for at in range(start, len(lines) - len(chunk) + 1):
            if all(p.fullmatch(line) for p, line in zip(patterns, lines[at:], strict=False)):
                start = at + len(chunk)
                break
        else:
            return chunk
    return []


def _chunks(expected: list[str]) -> Iterator[list[str]]:
    """The runs of lines between the lines `...`. Empty lines at either end of a run are layout and do not count."""
    text = "\n".join(line.rstrip() for line in expected)
    for chunk in re.split(r"^\s*\.\.\.$", text, flags=re.MULTILINE):
        if stripped := chunk.strip("\n"):
            yield stripped.split("\n")


class Terminal:
    """One bash in one folder. Each command is sourced, so what it changes lasts; its output goes to a file, so that a
    server which it leaves in the background holds up nothing. Leaving the context ends all that still runs.
    """

    def __init__(self, folder: Path, scratch: Path, environment: dict[str, str]) -> None:
        self._scratch = scratch
        self._count = 0
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        # Gone already: the page ended its shell itself and left nothing in the background.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.communicate()

    def run(self, text: str, seconds: float) -> tuple[int | None, str]:
        """The command's status, None where it did not end in time, and its output."""
        assert self._bash.stdin is not None
        self._count += 1
        script = self._scratch / f"{self._count}.sh"
        output = self._scratch / f"{self._count}.out"
        script.write_text(f"{text}\n")
        line = f"source {shlex.quote(str(script))} >{shlex.quote(str(output))} 2>&1 </dev/null; echo $?\n"
        try:
            self._bash.stdin.write(line.encode())
            self._bash.stdin.flush()
        except BrokenPipeError:
            return None, "the shell was ended by an earlier command"
        status = self._read_status(seconds)
        return status, output.read_text(errors="replace") if output.exists() else ""

    def _read_status(self, seconds: float) -> int | None:
        assert self._bash.stdout is not None
        deadline = time.monotonic() + seconds
        answer = b""
        while not answer.endswith(b"\n"):
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._bash.stdout], [], [], left)[0]:
                return None
            piece = os.read(self._bash.stdout.fileno(), 64)
            if not piece:
                return self._bash.wait()  # the command was `exit`, or killed its shell
            answer += piece
        return int(answer)


def reader_environment(python: Path) -> dict[str, str]:
    """The environment of a reader who activated the venv of `python` and set nothing else."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PLAIT_", "PYTHON"))}
    return kept | {
        "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "VIRTUAL_ENV": str(python.parent.parent),
        "COLUMNS": "120",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }


def check(command: Command, terminal: Terminal, name: str, seconds: float) -> None:
    """Run one command and compare what happened with what the page says."""
    status, output = terminal.run(command.text, seconds)
    if status is None:
        problem = f"did not end in {seconds:g} s"
    elif status != command.status:
        problem = f"ended with status {status}, not {command.status}"
    elif lines := missing(command.expected, output):
        problem = "did not print, together and at this place:\n" + _indent("\n".join(lines))
    else:
        return
    raise PageError(f"{name}:{command.line}: $ {command.text}\n{problem}\nIt printed:\n{_indent(output)}")


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()) or "    (nothing)"


def run_page(page: Path, python: Path, seconds: float) -> str:
    """Follow the page; return a line for the log."""
    name = str(page)
    todo = list(steps(page.read_text(encoding="utf-8"), name))
    if not todo:
        raise PageError(f"{name}:1: nothing to run: no block with a title, no console block")
    begin = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="plait-page-", ignore_cleanup_errors=True) as top,
        Terminal(_folder(top, "project"), _folder(top, "scratch"), reader_environment(python)) as terminal,
    ):
        for step in todo:
            if isinstance(step, Command):
                check(step, terminal, name, seconds)
            else:
                path = Path(top, "project", step.path)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(step.text, encoding="utf-8")
    ran = sum(isinstance(step, Command) for step in todo)
    return f"{name}: {len(todo) - ran} files, {ran} commands, {time.monotonic() - begin:.1f} s"


def _folder(top: str, name: str) -> Path:
    folder = Path(top, name)
    folder.mkdir()
    return folder


def main(arguments: list[str] | None = None) -> int:
    """0 when every page holds, 1 with the reason on stderr when one does not."""
    parser = argparse.ArgumentParser(description="Run what Markdown pages tell their readers to do.")
    parser.add_argument("--python", type=Path, required=True, help="the python of the venv that a reader would have")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for each command (default 120)")
    parser.add_argument("pages", type=Path, nargs="+")
    options = parser.parse_args(arguments)
    failed = False
    for page in options.pages:
        try:
            # Not resolved: a venv's python is a link, and the folder of its target is not the venv's.
            print(run_page(page, options.python.absolute(), options.timeout), flush=True)
        except PageError as error:
            print(error, file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
