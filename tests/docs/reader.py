"""What a reader has who installed plait."""

import shlex
import sys
from pathlib import Path

import plait


def reader_python(folder: Path) -> Path:
    """The `python` of a folder that also has `plait`: the plait that is tested, wherever it lies."""
    python, source = shlex.quote(sys.executable), shlex.quote(str(Path(plait.__file__).parents[1]))
    programs = folder / "bin"
    programs.mkdir()
    for name, arguments in {"python": "", "plait": "-m plait "}.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nPYTHONPATH={source} exec {python} {arguments}"$@"\n')
        program.chmod(0o755)
    return programs / "python"
