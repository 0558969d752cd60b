"""Memory of an engine with two warm workers: idle, and after 100,000 tasks. All its processes together, PSS."""

import subprocess
import sys
from collections.abc import Iterator

from bench.cases.fan import FILE
from bench.cases.scene import Scene
from bench.measure import Measure, memory_of

MOST = 80.0
MORE = 20.0


def measures(scene: Scene) -> Iterator[Measure]:
    """Idle; and how much more after so many tasks."""
    runs, tasks = scene.size(10, 2), scene.size(10_000, 200)
    home = str(scene.folder / "memory")
    command = [sys.executable, "-m", "bench.cases.hosting", str(scene.file("fan", FILE)), home, str(runs), str(tasks)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None  # both are pipes
        assert process.stdout is not None
        found: list[float] = []
        for turn in range(runs + 1):
            if process.stdout.readline() != "idle\n":
                raise RuntimeError("the session that was to be measured ended early")
            found.append(memory_of(process.pid))
            if turn < runs:
                process.stdin.write("\n")
                process.stdin.flush()
        process.stdin.close()
        process.terminate()
    yield Measure(
        name="memory: idle session, 2 workers", case=lambda: found[0], unit="MB", aim=MOST, repeats=1, warm=False
    )
    yield Measure(
        name=f"memory: more after {runs * tasks:,} tasks",
        case=lambda: max(0.0, found[-1] - found[0]),
        unit="MB",
        aim=MORE,
        repeats=1,
        warm=False,
        note=f"{max(0.0, found[1] - found[0]):.0f} MB of it with the first {tasks:,}",
    )
