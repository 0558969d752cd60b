"""The package's face: what is exported is there, is what type checkers see, and costs nothing before it is used.

That each name is documented is in tests/docs/test_api_reference.py; what its type is, in tests/typing/surface.py."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import plait

FACE = Path(plait.__file__)
SURFACE = Path(__file__).parents[1] / "typing" / "surface.py"
HEAVY = {
    "alembic", "asyncio", "click", "cloudpickle", "cronsim", "fsspec", "jsonschema", "psycopg", "pydantic", "rich",
    "sqlalchemy", "sqlite3", "plait.adapters", "plait.bootstrap", "plait.cli", "plait.runtime", "plait.worker",
}  # fmt: skip

SCRIPT = """
from plait import flow, task
@task
def one(): return 1
@flow
def script(): return one() + one.submit().result()
assert script() == 2
"""
NOT_FOR_A_SCRIPT = (HEAVY - {"sqlite3", "plait.adapters", "plait.bootstrap", "plait.runtime", "plait.worker"}) | {
    "ctypes", "dataclasses", "difflib", "hashlib", "multiprocessing", "shutil", "ssl", "subprocess", "tempfile",
    "zoneinfo", "plait.adapters.executors.processes", "plait.authoring.asset", "plait.authoring.schedules",
    "plait.engine.partitions.spaces", "plait.worker.loading",
}  # fmt: skip


def imported_by(tree: ast.Module, under: str = "plait") -> list[str]:
    """The names that a module imports from `under` and below."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return [alias.name for node in found if (node.module or "").startswith(under) for alias in node.names]


@pytest.mark.parametrize("name", plait.__all__)
def test_what_is_exported_is_there(name: str):
    assert getattr(plait, name) is not None
    assert name in dir(plait)


def test_a_name_that_is_not_there_is_told():
    with pytest.raises(AttributeError, match="module 'plait' has no attribute 'tsak'"):
        _ = plait.tsak


def test_type_checkers_see_the_same_names():
    for block in ast.parse(FACE.read_text(encoding="utf-8")).body:
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            assert sorted(imported_by(ast.Module(block.body, []))) == sorted(set(plait.__all__) - {"__version__"})
            return
    pytest.fail("the face has no `if TYPE_CHECKING`")


def test_every_name_is_typed():
    """Each is in the file of assertions that `make check` gives to pyright."""
    tree = ast.parse(SURFACE.read_text(encoding="utf-8"))
    assert sorted(imported_by(tree)) == sorted(plait.__all__)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert set(plait.__all__) <= used
    assert (FACE.parent / "py.typed").exists()


@pytest.mark.parametrize(
    "code",
    [
        "import plait",
        "from plait import *",
        "from plait import dag, task\n@task\ndef a(): ...\n@dag\ndef d(): return a()\nassert d.graph",
    ],
)
def test_importing_is_light(code: str):
    """Not even a dag needs what schedules, parameters, stores and the command line are made of."""
    told = f"{code}\nimport json, sys; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert HEAVY & set(json.loads(done.stdout)) == set()


def test_a_script_imports_what_it_uses(tmp_path: Path):
    """Imports are most of what the start of a script costs: nothing of asyncio, assets, schedules and worker processes
    comes with a flow that has none of these."""
    told = f"{SCRIPT}\nimport sys; print(*sys.modules)"
    environment = {**os.environ, "PLAIT_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, env=environment)
    assert NOT_FOR_A_SCRIPT & set(done.stdout.split()) == set()


def test_on_windows_it_says_what_to_do():
    """The commands that tell about the machine work there; all else names WSL, without a traceback on the command
    line."""
    code = """
import sys
import click  # which would ask Windows for its console
sys.platform = "win32"
from plait.cli.main import run_cli
try:
    from plait import task
except ImportError as error:
    print(error)
print([run_cli(["run", "flows.py"]), run_cli(["--version"])])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "on Windows, use it in WSL" in done.stdout
    assert "[2, 0]" in done.stdout
    assert "On Windows, use it in WSL" in done.stderr
    assert "Traceback" not in done.stderr
