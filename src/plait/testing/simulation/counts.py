"""What triggers have to have counted: each update and event that was committed while they waited, once."""

from collections.abc import Sequence

from plait.engine import conditions
from plait.engine.schedule_specs import parse
from plait.model.rows import PublishedRow, RunRow, TriggerRow
from plait.ports import RunBatch
from plait.testing.simulation.loop import Breach
from plait.testing.simulation.shared import SharedStore

Trigger = tuple[str, int]


class Counts:
    """By trigger, what it has to have counted."""

    def __init__(self) -> None:
        self._expected: dict[Trigger, list[tuple[str, str]]] = {}
        self._seen: set[tuple[object, ...]] = set()

    def committed(self, store: SharedStore, written: Sequence[RunBatch], published: Sequence[PublishedRow]) -> None:
        """This is in the database now. What is written again is no other update."""
        for batch in written:
            for row in batch.asset_events:
                place = (row.key, row.partition, row.run_id, row.no, row.kind, row.at)
                if place not in self._seen:
                    self._seen.add(place)
                    self._happened(store, conditions.ASSET + row.key, f"{row.run_id}/{row.no}/{row.at}")
        for event in published:
            self._happened(store, conditions.EVENT + event.name, event.id)

    def _happened(self, store: SharedStore, subject: str, source: str) -> None:
        for place, trigger in store.trigger_rows.items():
            if subject in trigger.awaits:
                self._expected.setdefault(place, []).append((subject, source))

    def check(self, store: SharedStore) -> None:
        """At the end: each is in one run, or waits for more; and there are as many runs as follow from them."""
        for place, row in store.trigger_rows.items():
            if not row.awaits:
                continue
            expected = self._expected.get(place, [])
            runs = [rows.run for rows in store.run_rows.values() if _is_of(rows.run, row)]
            told = [source for run in runs for source in _told(run.extra)]
            told += [source for _, event in conditions.standing_of(row).events for source in _told({"events": [event]})]
            if sorted(told) != sorted(source for _, source in expected):
                raise Breach(f"{place} has counted {told}, what happened is {expected}")
            when = parse(row.kind, row.spec)
            due, happened = 0, set[str]()
            for subject, _ in expected:
                happened.add(subject)
                if conditions.holds(when, happened):
                    due, happened = due + 1, set[str]()
            if len(runs) != due:
                raise Breach(f"{place} has {len(runs)} runs, of {expected} follow {due}")


def _is_of(run: RunRow, row: TriggerRow) -> bool:
    return run.occurrence is not None and run.occurrence.startswith(conditions.called(row))


def _told(extra: dict[str, list[dict[str, str]]]) -> list[str]:
    return [
        f"{each['run_id']}/{each['no']}/{each['at']}" if "key" in each else each["id"]
        for each in [*extra.get("asset_events", ()), *extra.get("events", ())]
    ]
