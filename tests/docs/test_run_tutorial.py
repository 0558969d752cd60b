"""The runner of documentation pages: what it reads from a page, how it compares output, what it does and reports."""

import sys
import textwrap
from pathlib import Path

import pytest

from scripts.run_tutorial import Command, File, PageError, main, missing, run_page, steps


def page(text: str) -> str:
    return textwrap.dedent(text).lstrip("\n")


def test_a_titled_block_is_a_file_and_an_untitled_one_is_prose():
    text = page("""
        ```python title="flows/etl.py"
        x = 1

        ```

        ```python
        never = "written"
        ```
    """)
    assert list(steps(text, "p.md")) == [File(line=1, path="flows/etl.py", text="x = 1\n\n")]


def test_a_block_inside_a_list_loses_the_list_s_indentation():
    text = "1. Write it:\n\n   ```toml title=a.toml\n   [a]\n     b = 1\n   ```\n"
    assert list(steps(text, "p.md")) == [File(line=3, path="a.toml", text="[a]\n  b = 1\n")]


def test_a_longer_fence_holds_a_shorter_one():
    text = '````markdown title="a.md"\n```console\n$ false\n```\n````\n'
    assert list(steps(text, "p.md")) == [File(line=1, path="a.md", text="```console\n$ false\n```\n")]


def test_commands_their_output_and_their_status():
    text = page("""
        ```console exit=3
        $ one \\
            --more
        first
        $ two <<END
        > input
        > END
        ```
    """)
    assert list(steps(text, "p.md")) == [
        Command(line=2, text="one \\\n    --more", status=3, expected=["first"]),
        Command(line=5, text="two <<END\ninput\nEND", status=3, expected=[]),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text\n```python title=a.py\nx = 1\n", r"p\.md:2: this fence is never closed"),
        ("```console\nhello\n```\n", r"p\.md:2: a console block begins with a line '\$ command', not with 'hello'"),
        ("```python title=../a.py\n```\n", r"p\.md:1: '\.\./a\.py' lies outside"),
        ("```python title=/etc/a.py\n```\n", r"p\.md:1: '/etc/a\.py' lies outside"),
    ],
)
def test_a_page_that_is_wrong_is_named_with_its_line(text: str, message: str):
    with pytest.raises(PageError, match=message):
        list(steps(text, "p.md"))


OUTPUT = "\x1b[1mstart\x1b[0m\n\nrun 17 done in 0.3 s  \nmiddle\nend\n"


@pytest.mark.parametrize(
    "expected",
    [
        [],
        ["start"],
        ["end"],
        ["run ... done in ... s", "middle"],
        ["start", "...", "end"],
        ["...", "middle", "...", ""],
        ["start", "", "run 17 done in 0.3 s"],
    ],
)
def test_output_that_is_there(expected: list[str]):
    assert missing(expected, OUTPUT) == []


@pytest.mark.parametrize(
    ("expected", "named"),
    [
        (["star"], ["star"]),
        (["start", "middle"], ["start", "middle"]),
        (["end", "...", "start"], ["start"]),
        (["run ... failed"], ["run ... failed"]),
        (["end", "more"], ["end", "more"]),
    ],
)
def test_output_that_is_not_there(expected: list[str], named: list[str]):
    assert missing(expected, OUTPUT) == named


def write(folder: Path, text: str) -> Path:
    path = folder / "page.md"
    path.write_text(page(text))
    return path


PYTHON = Path(sys.executable)


def test_a_page_is_followed_in_one_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PLAIT_HOME", "/of/the/developer")
    path = write(
        tmp_path,
        """
        ```python title="sub/hello.py"
        import sys
        print("hello", sys.argv[1])
        ```
        ```console
        $ cd sub
        $ export WHO=reader
        $ python hello.py $WHO
        hello reader
        $ echo "home=$PLAIT_HOME"
        home=
        $ sleep 60 &
        $ command -v python
        ...bin/python
        ```
        ```console exit=1
        $ python -c 'raise SystemExit("no")'
        no
        ```
        """,
    )
    assert "1 files, 7 commands" in run_page(path, PYTHON, 20)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("$ true\n$ (exit 4)", r"page\.md:3: \$ \(exit 4\)\nended with status 4, not 0"),
        ("$ exit 5", "ended with status 5, not 0"),
        ("$ echo one\ntwo", r"did not print.*\n    two\nIt printed:\n    one"),
        ("$ read nothing_to_read", "ended with status 1, not 0"),
    ],
)
def test_what_did_not_happen_is_reported(tmp_path: Path, body: str, message: str):
    path = tmp_path / "page.md"
    path.write_text(f"```console\n{body}\n```\n")
    with pytest.raises(PageError, match=message):
        run_page(path, PYTHON, 20)


def test_a_command_that_does_not_end_is_reported(tmp_path: Path):
    path = tmp_path / "page.md"
    path.write_text("```console\n$ sleep 60\n```\n")
    with pytest.raises(PageError, match=r"did not end in 0\.2 s\nIt printed:\n    \(nothing\)"):
        run_page(path, PYTHON, 0.2)


def test_a_command_after_the_shell_s_end_is_reported(tmp_path: Path):
    path = tmp_path / "page.md"
    path.write_text("```console\n$ exit 0\n$ true\n```\n")
    with pytest.raises(PageError, match="ended by an earlier command"):
        run_page(path, PYTHON, 20)


def test_the_command_line_says_what_held_and_what_did_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    good = write(tmp_path, "```console\n$ true\n```")
    bad = tmp_path / "empty.md"
    bad.write_text("Only words.\n")
    assert main(["--python", str(PYTHON), str(good)]) == 0
    assert main(["--python", str(PYTHON), str(bad), str(good)]) == 1
    out, err = capsys.readouterr()
    assert out.count("0 files, 1 commands") == 2
    assert "empty.md:1: nothing to run" in err
