"""The tutorial holds, command by command. CI follows it once more from the built wheel, with nothing else installed."""

from pathlib import Path

import pytest

from scripts.run_tutorial import run_page
from tests.docs.reader import reader_python

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"


@pytest.mark.slow
def test_the_tutorial_holds(tmp_path: Path):
    run_page(TUTORIAL, reader_python(tmp_path), 60)
