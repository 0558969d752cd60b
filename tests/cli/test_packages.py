"""Files that lie in a package have their names in it, for every command and in worker processes."""

from pathlib import Path

import pytest

from tests.cli.conftest import Command

FLOWS = """
from plait import dag, flow, task

from . import parts
from .deep.more import Shape, grow


@task
def make(size):
    return Shape(size)


@task
def name_of(shape):
    return f"{type(shape).__module__} {__name__} {parts.WORD} {shape.size}"


@dag
def shapes():
    return name_of(grow(make(2)))


@flow
def other():
    return name_of.submit(grow.submit(make.submit(3))).result()
"""
FILES = {
    "__init__.py": "",
    "flows.py": FLOWS,
    "parts.py": "WORD = 'word'\n",
    "types.py": "# A name of the standard library, which has to stay what it was.\n",
    "deep/__init__.py": "",
    "deep/more.py": """
from dataclasses import dataclass
from types import SimpleNamespace

from plait import task

from ..parts import WORD


@dataclass
class Shape:
    size: int


@task
def grow(shape):
    assert WORD == SimpleNamespace(word="word").word
    return Shape(shape.size + 1)
""",
}


def write(folder: Path) -> Path:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("target", ["{0}/flows.py", "{0}", "{0}.flows"])
@pytest.mark.parametrize("executor", ["processes", "threads"])
def test_relative_imports(plait: Command, target: str, executor: str) -> None:
    write(plait.folder / "shop")
    target = target.format("shop")
    ran = plait("run", target, "shapes", "--executor", executor, "--json").json
    assert ran["result"] == "shop.deep.more shop.flows word 3"
    ran = plait("run", target, "other", "--executor", executor, "--json").json
    assert ran["result"] == "shop.deep.more shop.flows word 4"


@pytest.mark.parametrize("name", ["shop", "email"])
def test_every_command_loads_them(plait: Command, name: str) -> None:
    """Also where the package has the name of one of Python's own."""
    write(plait.folder / name)
    file = f"{name}/flows.py"
    assert plait("check", file, "--json").json["errors"] == []
    assert plait("check", name, "--json").json["errors"] == []
    assert [each["name"] for each in plait("list", file, "--json").json["workflows"]] == ["shapes", "other"]
    assert plait("graph", file, "shapes", "--json").json["name"] == "shapes"
    ran = plait("run", file, "shapes", "--json").json
    assert ran["result"].endswith("word 3")
    again = plait("runs", "retry", ran["run_id"], "--task", "name_of", "--json").json
    assert (again["state"], again["result"]) == ("success", ran["result"])


def test_two_packages_of_one_name(plait: Command) -> None:
    write(plait.folder / "all" / "one" / "shop")
    two = write(plait.folder / "all" / "two" / "shop")
    (two / "flows.py").write_text(FLOWS.replace("shapes", "shapes_two").replace("def other", "def other_two"))
    (two / "parts.py").write_text("WORD = 'word'\nSECOND = True\n")
    assert plait("check", "all", "--json").json["errors"] == []
    for name in ("shapes", "shapes_two"):
        assert plait("run", "all", name, "--json").json["result"].endswith("word 3")


def test_what_is_wrong_in_a_package_is_told_the_same(plait: Command) -> None:
    folder = write(plait.folder / "shop")
    (folder / "parts.py").write_text("WORD = 1 / 0\n")
    told = "flows.py does not load: ZeroDivisionError: division by zero"
    for command in ("check", "run"):
        result = plait(command, "shop/flows.py", code=1 if command == "check" else 2)
        assert told in result.err
        assert f"{folder / 'parts.py'}:1" in result.err
