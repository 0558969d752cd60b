"""Waits where tasks run in worker processes: their triggers are awaited in a process of their own."""

from pathlib import Path

from plait.bootstrap import Settings
from tests.api.helpers import lines, run_file

CODE = """
import asyncio
import os
from pathlib import Path

from plait import TriggerFailed, dag, flow, task, trigger, wait_for

LEDGER = Path(__file__).with_name("ledger")


@trigger
async def arrives(number: int) -> dict:
    await asyncio.sleep(0.05)
    return {"number": number, "pid": os.getpid()}


@trigger
async def dies() -> None:
    os._exit(3)


@task
def waits(number: int) -> dict:
    with LEDGER.open("a") as file:
        file.write(f"{number}\\n")
    event = wait_for(arrives(number), timeout=60)
    return {**event, "worker": os.getpid()}


@task
def inner(number: int) -> str:
    @trigger
    async def local() -> None: ...

    try:
        wait_for(local())
    except TriggerFailed as error:
        return str(error)


@task
def deadly() -> str:
    try:
        wait_for(dies())
    except TriggerFailed as error:
        return str(error)


@task
def both(*found):
    return list(found)


@dag
def in_dag():
    return both(waits(1), waits(2), inner(1), deadly())


@flow(executor="processes")
def in_flow():
    running = waits.map(range(50))
    own = wait_for(arrives(7))
    return own, [each["number"] for each in running.result()]
"""


def test_triggers_of_a_file_run_in_one_process_of_their_own(tmp_path: Path, settings: Settings):
    file = tmp_path / "orders.py"
    file.write_text(CODE)
    run = run_file(settings, file, "in_dag")
    assert run.state == "success", run.error
    one, two, local, deadly = run.result
    assert (one["number"], two["number"], {each.attempt for each in run.tasks}) == (1, 2, {1})
    assert one["pid"] not in (one["worker"], two["worker"])
    assert "is defined inside of a function, so only the process that called it has it" in local
    assert "dies ended the process that it ran in: the process of the triggers exited with code 3" in deadly
    assert sorted(lines(tmp_path / "ledger")) == ["1", "1", "2", "2"]


def test_a_flow_waits_and_its_tasks_in_worker_processes_too(tmp_path: Path, settings: Settings):
    file = tmp_path / "orders_in_flow.py"
    file.write_text(CODE)
    run = run_file(settings, file, "in_flow")
    assert run.state == "success", run.error
    own, numbers = run.result
    assert (own["number"], numbers) == (7, list(range(50)))
    assert len(lines(tmp_path / "ledger")) == 100


"""
"""
