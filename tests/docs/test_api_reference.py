"""The reference of the Python API: it has every public name, and says what the docstrings say."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import plait
from plait.authoring.asset import _OWN as ASSET_OPTIONS
from plait.authoring.dag import DAG_OPTIONS, WORKFLOW_HOOKS
from plait.authoring.flow import _COMMON, _OWN
from plait.authoring.task import _HOOKS, TaskOptions

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "api.md"
ENTRY = re.compile(r"^### `(\w+)`$\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
ENTRIES = dict(ENTRY.findall(PAGE.read_text(encoding="utf-8")))
NAMES = sorted(plait.__all__)
OPTIONS = {
    "task": [name for name in TaskOptions.__struct_fields__ if name != "hooks"] + list(_HOOKS),
    "dag": [*DAG_OPTIONS, *WORKFLOW_HOOKS],
    "flow": [*_COMMON, *_OWN, *WORKFLOW_HOOKS],
    "asset": [*ASSET_OPTIONS, "tags"],
}


def test_it_has_the_public_names_and_no_others():
    headings = [name for name, _ in ENTRY.findall(PAGE.read_text(encoding="utf-8"))]
    assert sorted(headings) == NAMES


def summary_of(documented: Any) -> str:
    """The first sentence of a docstring, on one line."""
    paragraph = (inspect.getdoc(documented) or "").partition("\n\n")[0]
    return re.split(r"(?<=\.)\s", " ".join(paragraph.split()))[0]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "__version__"])
def test_it_says_what_the_docstring_says(name: str):
    documented = getattr(plait, name)
    assert documented.__doc__, f"{name} has no docstring"
    summary = summary_of(documented).removesuffix(":")
    assert " ".join(ENTRIES[name].split()).startswith(summary)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_has_an_example(name: str):
    assert "```python" in ENTRIES[name]
    assert re.search(rf"\b{name}\b", "".join(re.findall(r"```python(.*?)```", ENTRIES[name], re.DOTALL)))


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_there(name: str):
    table = "".join(line for line in ENTRIES[name].splitlines() if line.startswith("| `"))
    assert [option for option in OPTIONS[name] if f"`{option}`" not in table] == []


@pytest.mark.parametrize("name", NAMES)
def test_what_a_public_class_offers_has_docstrings(name: str):
    documented = getattr(plait, name)
    if inspect.isclass(documented):
        offered = {key: value for key, value in vars(documented).items() if not key.startswith("_")}
        without = [
            key
            for key, value in offered.items()
            if (inspect.isfunction(value) or isinstance(value, property)) and not inspect.getdoc(value)
        ]
        assert without == []
