"""Workflows that ask people, and that wait for files."""

import os
from pathlib import Path

from pydantic import BaseModel, field_validator

from plait import ask, dag, file_exists, flow, task, wait_for


def note(text: str) -> None:
    """Append a line to the notes."""
    file = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{text}\n".encode())
    os.close(file)


class Payment(BaseModel):
    """What an approver says."""

    approved: bool
    amount: int
    note: str = ""

    @field_validator("amount")
    @classmethod
    def even(cls, amount: int) -> int:
        """No schema knows of this."""
        if amount % 2:
            raise ValueError("only even amounts")
        return amount


@task
def approve(order: int) -> dict[str, object]:
    """Asks for a payment."""
    return ask(Payment, f"Pay order {order}?").model_dump()


@dag
def pays(order: int = 5):
    """Asks in a task."""
    return approve(order)


@flow
def releases():
    """Asks in a body, twice."""
    note("body")
    who = ask(str, "Who are you?", name="who")
    return who if ask(bool, f"Release, {who}?", name="release") else None


@task
def loads(folder: str) -> str:
    """Waits for a file in a process of its own."""
    note("begun")
    path = wait_for(file_exists(Path(folder) / "go", poll=0.05))
    note("went on")
    return path.read_text()


@task
def total(texts: list[str]) -> str:
    """Joins."""
    return ",".join(texts)


@dag
def arrivals(folder: str):
    """Several tasks that wait."""
    return total([loads.options(name=f"load_{name}")(folder) for name in ("a", "b")])


@flow
def collects(folder: str):
    """A body that waits, after a task that is not to be done again."""
    note("body")
    first = once(folder)
    path = wait_for(file_exists(Path(folder) / "go", poll=0.05))
    return [first, path.read_text()]


@task
def once(folder: str) -> str:
    """Notes that it was done."""
    note("done")
    return "done"
