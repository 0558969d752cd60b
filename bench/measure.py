"""Measuring: a case beside its floor, several times in turn; processes' CPU seconds and memory."""

import os
import resource
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

LEAST = 2.0
"""An aim counts as within reach when no more than this many times what it asks for is needed."""


@dataclass(frozen=True)
class Figure:
    """What several repeats of one measurement gave."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def best(self) -> float:
        """The smallest one."""
        return min(self.values)

    @property
    def worst(self) -> float:
        """The greatest one."""
        return max(self.values)


@dataclass
class Measure:
    """One line of the table: what `case` costs, beside what `floor` costs that does the bare work.

    Both return their cost in `unit` (s, CPU s, MB, or a plain number), smaller is better. `tasks`: how many task runs
    that is, for a rate. `aim`: the most that the case is to cost; `aim_ratio`: the most times the floor.
    `least_ratio`: the most times the floor at which half of the aim is reached, where that is not at twice what the aim
    is above the floor.
    """

    name: str
    case: Callable[[], float]
    floor: Callable[[], float] | None = None
    floor_name: str = ""
    unit: str = "s"
    tasks: int | None = None
    aim: float | None = None
    aim_ratio: float | None = None
    least_ratio: float | None = None
    repeats: int = 5
    warm: bool = True
    """Whether the first of the repeats is thrown away."""
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A measure and what it gave."""

    name: str
    unit: str
    figure: Figure
    floor: Figure | None = None
    floor_name: str = ""
    tasks: int | None = None
    aim: float | None = None
    aim_ratio: float | None = None
    least_ratio: float | None = None
    note: str = ""
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> Figure | None:
        """How many times the floor the case costs, pair by pair."""
        if self.floor is None:
            return None
        return Figure(tuple(c / f for c, f in zip(self.figure.values, self.floor.values, strict=True) if f > 0))

    @property
    def verdict(self) -> str:
        """`aim` when it reaches what is asked for, `half` when it needs up to twice that, `short` otherwise."""
        short = []
        if self.aim is not None:
            short.append(self.figure.median / self.aim)
        if self.aim_ratio is not None and self.ratio is not None:
            # An aim of 1.02 times the floor leaves 2 % above it: twice that is the least.
            over, ratio = self.aim_ratio - 1, self.ratio.median
            if self.least_ratio is not None:
                short.append(1.0 if ratio <= self.aim_ratio else LEAST * ratio / self.least_ratio)
            else:
                short.append((ratio - 1) / over if over < 1 else ratio / self.aim_ratio)
        if not short:
            return ""
        return "aim" if max(short) <= 1 else "half" if max(short) <= LEAST else "short"


def take(measure: Measure) -> Row:
    """Measure: floor and case in turn, as often as asked for. Whatever goes on beside them meets both."""
    floors: list[float] = []
    cases: list[float] = []
    for turn in range(measure.repeats + measure.warm):
        floor = measure.floor() if measure.floor is not None else None
        case = measure.case()
        if measure.warm and turn == 0:
            continue
        cases.append(case)
        if floor is not None:
            floors.append(floor)
    return Row(
        name=measure.name,
        unit=measure.unit,
        figure=Figure(tuple(cases)),
        floor=Figure(tuple(floors)) if floors else None,
        floor_name=measure.floor_name,
        tasks=measure.tasks,
        aim=measure.aim,
        aim_ratio=measure.aim_ratio,
        least_ratio=measure.least_ratio,
        note=measure.note,
    )


# --- time -------------------------------------------------------------------------------------------------------------


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of some work."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def cpu_of(command: Sequence[str], **options: object) -> float:
    """CPU seconds of a command and of the children that it waited for. Raises CalledProcessError when it fails."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, **options)  # type: ignore[call-overload]  # whatever Popen takes
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise subprocess.CalledProcessError(process.returncode, command, stderr=said.read().decode())
    return used.ru_utime + used.ru_stime


# --- memory -----------------------------------------------------------------------------------------------------------


def children_of(pid: int) -> list[int]:
    """A process and everything below it."""
    found = [pid]
    for each in found:
        try:
            for task in Path(f"/proc/{each}/task").iterdir():
                found.extend(int(child) for child in (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):  # it has ended just now
            continue
    return found


def memory_of(pid: int) -> float:
    """Megabytes of a process and everything below it; a page that several share counts once (PSS, Linux only)."""
    total = 0
    for each in children_of(pid):
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


@contextmanager
def peak_memory(pid: int, every: float = 0.05) -> Iterator[Callable[[], float]]:
    """Sample the memory of a process tree while the block runs; the function that it gives tells the greatest."""
    most = [memory_of(pid)]
    over = threading.Event()

    def sample() -> None:
        while not over.wait(every):
            most.append(memory_of(pid))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield lambda: max(most)
    finally:
        over.set()
        thread.join()


def own_cpu() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
