"""A process's connection to the store that all share: it fails in every way in which one to a database can."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, cast

from plait.model.errors import StoreError
from plait.model.rows import PublishedRow, RunRow
from plait.ports import RunBatch, RunStore, Transaction
from plait.testing.simulation.loop import Loop, Party
from plait.testing.simulation.shared import SharedStore
from plait.testing.simulation.witness import Witness

WRITES = frozenset(
    {
        "claim", "delete_runs", "empty_trash", "forget_inbox", "forget_trash", "free_slots", "let_go", "put_inbox",
        "release_owner", "renew", "save_graph", "save_limits", "sweep", "take_over",
    }
)  # fmt: skip


OF_SIGNALS = frozenset({"any_awaited", "waiting"})
"""What is asked where triggers may wait for signals."""


class Connection:
    """A process's connection: everything that it calls is an await point, at which it may fail."""

    def __init__(self, loop: Loop, party: Party, shared: SharedStore, witness: Witness, *, of: Any = None):
        self._loop = loop
        self._party = party
        self._shared = shared
        self._of: Any = shared if of is None else of
        self._witness = witness
        self.url = "simulated://"

    def as_store(self) -> RunStore:
        """As what it is used."""
        return cast(RunStore, self)

    @functools.cached_property
    def definitions(self) -> Any:
        """The definitions in the same database."""
        return Connection(self._loop, self._party, self._shared, self._witness, of=self._shared.definitions)

    @functools.cached_property
    def partitions(self) -> Any:
        """What of partitions lies in the same database; no scenario has any, so nothing fails here."""
        return self._shared.partitions

    @functools.cached_property
    def signals(self) -> Any:
        """What triggers wait for, in the same database."""
        return Connection(self._loop, self._party, self._shared, self._witness, of=self._shared.signals)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        made = self._writing(name) if name in WRITES else self._reading(name)
        self.__dict__[name] = made
        return made

    def _reading(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._of, name)
        if name == "files":  # only who has assets looks at these, and no scenario has any: it is no step of it
            return method

        def read(*args: Any, **kwargs: Any) -> Any:
            if name not in OF_SIGNALS or self._shared.signals.any_awaited():  # likewise
                self._before(name)
            return method(*args, **kwargs)

        return read

    def _writing(self, name: str) -> Callable[..., Any]:
        method = getattr(self._of, name)

        def write(*args: Any, **kwargs: Any) -> Any:
            self._before(name)
            found = method(*args, **kwargs)
            self._witness.called(self._party, name, args)
            self._after(name)
            return found

        return write

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction: it may fail at its begin, at its commit, and after that."""
        self._before("a transaction")
        with self._shared.transaction() as tx, self._in_transaction():
            own = OwnTransaction(self._loop, self._party, tx)
            yield cast(Transaction, own)
            self._loop.point(self._party, "a commit", inside=True)
            if self._loop.strikes(self._loop.faults.refused):
                self._fail("could not be committed")
        self._witness.committed(self._party, own.written, own.created, own.published)
        self._after("a commit")

    @contextlib.contextmanager
    def _in_transaction(self) -> Iterator[None]:
        self._party.in_transaction = True
        try:
            yield
        finally:
            self._party.in_transaction = False

    def _before(self, what: str) -> None:
        loop = self._loop
        loop.point(self._party, what, inside=self._party.in_transaction)
        if loop.outage_until > loop.now:
            self._fail("is not there")
        if loop.strikes(loop.faults.refused):
            self._fail(f"refuses {what}")

    def _after(self, what: str) -> None:
        loop = self._loop
        loop.point(self._party, f"after {what}")
        if loop.strikes(loop.faults.unknown):
            self._fail(f"has done {what}, and its answer was lost")

    def _fail(self, what: str) -> NoReturn:
        self._loop.note(self._party.name, f"the store {what}")
        self._witness.errors += 1
        raise StoreError(f"(simulated) the store {what}")


class OwnTransaction:
    """A transaction of one process. Serialization failures come in its middle."""

    def __init__(self, loop: Loop, party: Party, tx: Transaction):
        self._loop = loop
        self._party = party
        self._tx = tx
        self.written: list[RunBatch] = []
        self.created: list[RunRow] = []
        self.published: list[PublishedRow] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._tx, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._inside(name)
            return method(*args, **kwargs)

        self.__dict__[name] = call
        return call

    def create_run(self, row: RunRow) -> bool:
        """Make a run."""
        self._inside("create_run")
        made = self._tx.create_run(row)
        if made:
            self.created.append(row)
        return made

    def publish(self, row: PublishedRow) -> None:
        """Publish an event."""
        self._inside("publish")
        self._tx.publish(row)
        self.published.append(row)

    def write(self, batch: RunBatch) -> None:
        """Write a run's batch."""
        self._inside("write")
        self._tx.write(batch)
        self.written.append(batch)

    def _inside(self, what: str) -> None:
        self._loop.point(self._party, what, inside=True)
        if self._loop.strikes(self._loop.faults.conflict):
            self._loop.note(self._party.name, f"a conflict at {what}")
            raise StoreError(f"(simulated) could not serialize access, at {what}")
