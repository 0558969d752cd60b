"""What starting costs in CPU seconds, beside a bare Python: `import plait`, `plait --help`, the embedded engine."""

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.cases.scene import Scene
from bench.measure import Measure, cpu_of

ENGINE = """
from plait import flow, task

@task
def one(): return 1

@flow
def script(): return one()

script()
"""


def measures(scene: Scene) -> Iterator[Measure]:
    """Whole processes, from exec to exit, with their children."""
    python = [sys.executable, "-c"]
    plait = [str(Path(sys.executable).with_name("plait")), "--help"]
    script = [sys.executable, str(scene.file("script", ENGINE))]
    home = {**os.environ, "PLAIT_HOME": str(scene.folder / "start")}
    home.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode beside it
    cases = {
        "import plait": ([*python, "import plait"], 0.1),
        "plait --help": (plait, 0.2),
        "embedded engine: a script with a flow of one task": (script, 0.15),
        "the same, `from plait import flow, task` alone": ([*python, "from plait import flow, task"], None),
    }
    for name, (command, aim) in cases.items():
        yield Measure(
            name=name,
            case=partial(cpu_of, command, env=home),
            floor=partial(cpu_of, [*python, "pass"]),
            floor_name="bare Python",
            unit="CPU s",
            aim=aim,
            repeats=scene.size(9, 1),
        )
