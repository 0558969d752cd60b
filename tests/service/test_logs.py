"""What a task printed can be read, up to the last moment before kill -9 (F15)."""

import contextlib
import os
import signal

import pytest

from tests.service.house import House

SOURCE = """
import os
import time
from plait import flow, task


@task
def endless():
    number = 0
    notes = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(notes, f"pid {os.getpid()}\\n".encode())
    while True:
        print("line", number)
        os.write(notes, f"{number}\\n".encode())
        number += 1
        time.sleep(0.001)


@flow
def work():
    endless()
"""


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    yield made
    made.close()


def printed(house: House) -> int:
    """The last line that the task has printed as far as is known outside, -1 before the first."""
    return next((int(line) for line in reversed(house.noted()) if line.isdigit()), -1)


@pytest.mark.parametrize("where", ["service", "processes", "threads"])
def test_all_that_was_printed_before_a_kill_is_there(house, where):
    house.put("work.py", SOURCE)
    if where == "service":
        house.scheduler("work.py").ready()
        house.worker().ready()
        house.ask("work.py", "work")
    else:
        house.start("run", "run", "work.py", "work", "--executor", where)
    house.until(lambda: printed(house) > 200, "it has printed something")
    pids = {int(line.split()[1]) for line in house.noted() if line.startswith("pid")}
    for pid in (*pids, *(process.pid for process in house.processes)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    house.until(lambda: not house.left(), "nothing is left")
    last = printed(house)
    (row,) = house.store.list_runs()
    lines = house("runs", "logs", row.run_id).out
    found = [int(line.rpartition(" ")[2]) for line in lines.splitlines() if "line " in line]
    assert found[: last + 1] == list(range(last + 1))
