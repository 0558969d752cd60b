"""Workflows that wait for events and for people."""

import asyncio
import os
from pathlib import Path

from plait import ask, dag, file_exists, flow, task, trigger, wait_for

NOTES = os.environ["NOTES"]


def note(text: str) -> None:
    """Append a line to the notes, whatever process this is."""
    file = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{text}\n".encode())
    os.close(file)


@trigger
async def let_go(name: str) -> str:
    """There is a file of this name."""
    while not os.path.exists(f"{NOTES}.{name}"):  # noqa: ASYNC110, ASYNC240  another process makes it
        await asyncio.sleep(0.05)
    return f"{name} in {os.getpid()}"


@task
def arrives(name: str) -> str:
    """Waits for an event."""
    note(f"{name} begins")
    return wait_for(let_go(name))


@dag
def waiting(name: str):
    """One task that waits."""
    return arrives(name)


@task
def done(name: str) -> str:
    """Is done once."""
    note(f"{name} is done")
    return name


@flow
def asking(name: str) -> list:
    """A body that leaves its process: for an event, for people, for a time, for a file."""
    note(f"body in {os.getpid()}")
    first = done(name)
    event = wait_for(let_go(name))
    sure = ask(bool, f"Go on with {name}?", timeout=600)
    wait_for(0.2)
    path = wait_for(file_exists(Path(f"{NOTES}.{name}")))
    return [first, event.split()[0], sure, path.name]


@flow
def busy(name: str) -> int:
    """A body that leaves while a child of it works: its process is needed."""
    working = works.submit(name)
    number = ask(int, "How many?")
    return number + working.result()


@task
def works(name: str) -> int:
    """Works until it is let go."""
    note(f"{name} works in {os.getpid()}")
    while not os.path.exists(f"{NOTES}.{name}"):
        pass
    return 1
