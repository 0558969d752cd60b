"""Retention: runs that ended long ago go, with their rows, their events, their results and their logs (C8).

Theory of operation. Of the schedulers on a database one does this, the one that is there for longest: it is known from
the rows of owners, without a lock, and two that both think so are only in each other's way, never wrong. It does little
at a time, with pauses, so that commits of runs never wait for long. A run first vanishes from the database, then its
rows and its files follow; what is still to go is kept in the trash, where a scheduler that comes later finds it. New
runs only vanish when the trash is empty: where files cannot be deleted, nothing piles up. Logs are files of this host,
which every process that serves here looks after.
"""

import logging
import threading
from collections.abc import Callable, Iterable

from plait.engine.assets.index import AssetIndex, deployed
from plait.model.errors import StoreError
from plait.model.states import RUN_TERMINAL, RunState
from plait.ports import Clock, RunStore

RUNS_AT_ONCE = 100
"""Runs that vanish in one transaction."""
ROWS_AT_ONCE = 5_000
"""Rows of task runs and events that go in one transaction: a few hundredths of a second."""
SEGMENTS_AT_ONCE = 200
EVENTS_AT_ONCE = 1000
"""Published events that go in one transaction."""
PAUSE = 0.25
"""Seconds between two steps while there is something to delete."""
LOOK_AGAIN = 60.0
"""Seconds until the next look when there was nothing."""
LOOK_AROUND = 3600.0
"""Seconds between two looks for what is seldom there: a look costs a listing of what is cached."""
OPEN = [state.value for state in RunState if state not in RUN_TERMINAL]
OPEN_AT_ONCE = 10_000
"""Open runs that one query reads."""
DAY = 86400.0
log = logging.getLogger("plait.retention")


class Retention:
    """Deletes what ended more than `days` days ago, in small steps, for the process `owner`.

    `delete_results(prefixes)`, `prune_logs(older_than, limit)` and `prune_cache(unused_since, limit)` delete files.
    Nothing is deleted with 0 days.
    """

    def __init__(
        self,
        store: RunStore,
        clock: Clock,
        owner: str,
        days: float,
        *,
        delete_results: Callable[[Iterable[str]], None],
        prune_logs: Callable[[float, int], int],
        prune_cache: Callable[[float, int], int],
    ):
        self._store = store
        self._clock = clock
        self._owner = owner
        self._days = days
        self._delete_results = delete_results
        self._prune_logs = prune_logs
        self._prune_cache = prune_cache
        self._look_at = 0.0
        """When it is looked again for what is seldom there: automations that are gone, what is cached and not used."""

    def step(self) -> bool:
        """Delete a little; whether there may be more."""
        if not self._days:
            return False
        before = self._clock.now() - self._days * DAY
        more = self._prune_logs(before, SEGMENTS_AT_ONCE) == SEGMENTS_AT_ONCE
        if self._is_first():
            more |= self._empty_trash() or self._store.delete_runs(before, RUNS_AT_ONCE) > 0
            more |= self._store.partitions.delete_backfills(before, RUNS_AT_ONCE) == RUNS_AT_ONCE
            more |= self._store.signals.delete_published(before, EVENTS_AT_ONCE) == EVENTS_AT_ONCE
            more |= self._look_around(before)  # last, and it may fail: a cache may be where nothing can be listed
        return more

    def _look_around(self, before: float) -> bool:
        """Look every now and then at what is seldom to be deleted; whether there is more."""
        now = self._clock.now()
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_AROUND
        try:
            self._forget_automations(before)
            unused_since = min(before, self._oldest_open(now))  # what it took from the cache it may need again
            more = self._prune_cache(unused_since, SEGMENTS_AT_ONCE) == SEGMENTS_AT_ONCE
        except Exception:  # what a file system raises is its own
            log.exception("what is cached and not used any more could not be deleted, it is tried again in an hour")
            return False
        if more:
            self._look_at = now
        return more

    def _oldest_open(self, now: float) -> float:
        """When the oldest run was made that has not ended."""
        oldest, rows = now, self._store.list_runs(states=OPEN, limit=OPEN_AT_ONCE)
        while rows:
            oldest = min(oldest, *(row.created_at for row in rows))
            rows = self._store.list_runs(states=OPEN, before=rows[-1].run_id, limit=OPEN_AT_ONCE)
        return oldest

    def _forget_automations(self, before: float) -> None:
        """Delete where automations stand of assets that are not deployed any more, and were not when it began."""
        definitions, after = self._store.definitions, ""
        deployed_keys: set[str] | None = None
        while keys := definitions.old_automations(before, after, ROWS_AT_ONCE):
            if deployed_keys is None:
                deployed_keys = set(AssetIndex(deployed(definitions.files()).graph).specs)
            gone = [key for key in keys if key not in deployed_keys]
            if gone:
                with self._store.transaction() as tx:
                    tx.delete_automations(gone)
            after = keys[-1]

    def _is_first(self) -> bool:
        """Whether no other scheduler is there for longer than this one."""
        now = self._clock.now()
        there = [row for row in self._store.owners() if row.address and row.lease_until >= now]
        return bool(there) and min(there, key=lambda row: (row.started, row.owner)).owner == self._owner

    def _empty_trash(self) -> bool:
        """Delete rows and files of what has vanished; whether there was anything."""
        run_ids, full = self._store.empty_trash(ROWS_AT_ONCE)
        if run_ids:
            self._delete_results(run_ids)
            self._store.forget_trash(run_ids)
        return full or bool(run_ids)


class RetentionThread:
    """Takes the steps, until it is stopped."""

    def __init__(self, retention: Retention):
        self._retention = retention
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="plait-retention", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        pause = PAUSE
        while not self._stop.wait(pause):
            pause = PAUSE if self._step() else LOOK_AGAIN

    def _step(self) -> bool:
        try:
            return self._retention.step()
        except StoreError as error:
            log.warning("old runs could not be deleted, it is tried again: %s", error)
        except Exception:  # what a file system raises is its own; old files must not end a service
            log.exception("files of old runs could not be deleted, it is tried again")
        return False

    def stop(self) -> None:
        """End the thread, after the step that it is at."""
        self._stop.set()
        self._thread.join(timeout=5)
