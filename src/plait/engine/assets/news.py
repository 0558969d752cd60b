"""What was made anew of an upstream asset that has other partitions than what is made from it.

Theory of operation. Several partitions of an upstream asset have no one data version. What stands for them is the last
change among them: the newest event of one of these partitions that brought another data version than it had before. A
run keeps its mark; as long as that is the last change, nothing is new. History is read backwards until there is one, so
that what is read does not depend on how many partitions there are: most often it is among the newest events.
"""

from collections.abc import Sequence
from math import inf, nextafter
from typing import NamedTuple, Protocol

import msgspec

from plait.engine.partitions.keysets import EMPTY, KeySet
from plait.engine.partitions.spaces import Space, parse, pieces, text_of
from plait.model.assets import HistoryEvent
from plait.model.errors import UserError
from plait.model.hashes import blake2b
from plait.model.rows import AssetEventRow

FIRST_PAGE = 100
MOST_READ = 20_000
"""Events of an asset that are read at most (C8)."""
READ_BEFORE = 2_000
"""So many of them are read before few partitions are looked up one by one."""
FEW = 1_000
KINDS = ("materialized", "observed")
_events = msgspec.json.Decoder(HistoryEvent)


class History(Protocol):
    """What is asked of a store of runs (the port `RunStore` has it)."""

    def asset_history(
        self,
        key: str,
        *,
        partition: str | None = None,
        kinds: Sequence[str] = (),
        before: float | None = None,
        limit: int = 50,
    ) -> list[AssetEventRow]:
        """What happened to an asset, newest first."""
        ...


class Change(NamedTuple):
    """The last change of some partitions: its mark, the partitions that it is about (as a text), and when it was."""

    mark: str
    text: str
    at: float
    event: AssetEventRow


def version_in(row: AssetEventRow) -> str | None:
    """The data version that an event tells."""
    return _events.decode(row.data).data_version


class _Events:
    """The history of one asset, as far as it was read: newest first."""

    def __init__(self, history: History, key: str, space: Space):
        self._history = history
        self._key = key
        self.space = space
        self.rows: list[AssetEventRow] = []
        self.keys: list[KeySet] = []
        self.first: dict[int, int] = {}
        """Where the newest event of a partition is, of those that are about one."""
        self.ranges: list[int] = []
        """Where those are that are about several."""
        self.is_whole = False
        self._page = FIRST_PAGE
        self._news: dict[int, bool] = {}

    def read_on(self) -> None:
        """Read another page. Events of one moment may lie on both sides of its end."""
        last = self.rows[-1].at if self.rows else None
        known = sum(row.at == last for row in self.rows[-self._page :]) if last is not None else 0
        before = nextafter(last, inf) if last is not None else None
        limit = self._page + known
        found = self._history.asset_history(self._key, kinds=KINDS, before=before, limit=limit)
        self.is_whole = len(found) < limit
        self._page *= 2
        for row in found[known:]:
            try:
                keys = parse(self.space, row.partition)
            except UserError:  # of an older definition
                keys = EMPTY
            at = len(self.rows)
            self.rows.append(row)
            self.keys.append(keys)
            if len(keys) == 1:
                self.first.setdefault(keys.first, at)
            elif keys:
                self.ranges.append(at)

    def among(self, wanted: KeySet, start: int) -> int | None:
        """Where the newest event about some partitions is, of those that were read, from a place on."""
        if start == 0 and len(wanted) <= len(self.first):
            ones = (at for no in wanted if (at := self.first.get(no)) is not None)
            ranges = (at for at in self.ranges if self.keys[at] & wanted)
            return min((*ones, *ranges), default=None)
        return next((at for at in range(start, len(self.rows)) if self.keys[at] & wanted), None)

    def is_news(self, at: int) -> bool:
        """Whether an event brought another data version."""
        if at not in self._news:
            self._news[at] = self.brings_news(self.rows[at])
        return self._news[at]

    def brings_news(self, row: AssetEventRow) -> bool:
        """The same of a row."""
        version = version_in(row)
        earlier = self._history.asset_history(self._key, partition=row.partition, kinds=KINDS, before=row.at, limit=1)
        return version is None or not earlier or version_in(earlier[0]) != version

    def newest_of(self, ordinal: int) -> AssetEventRow | None:
        """The last change of one partition."""
        before: float | None = None
        text = self.space.key(ordinal)
        while found := self._history.asset_history(self._key, partition=text, kinds=KINDS, before=before, limit=1):
            if self.brings_news(found[0]):
                return found[0]
            before = found[0].at
        return None


class News:
    """Reads the history of assets, and remembers what it has read: for one moment."""

    def __init__(self, history: History):
        self._history = history
        self._events: dict[str, _Events] = {}
        self._recent: dict[str, KeySet] = {}

    def latest(self, key: str, space: Space, wanted: KeySet) -> Change | None:
        """The last change among some partitions of an asset; none when there is none, or it is too long ago."""
        if not wanted:
            return None
        events, start = self._of(key, space), 0
        while True:
            at = events.among(wanted, start)
            while at is not None and not events.is_news(at):
                at = events.among(wanted, at + 1)
            if at is not None:
                return _change(key, space, events.rows[at], events.keys[at] & wanted)
            start = len(events.rows)
            if events.is_whole or start >= MOST_READ:
                return None
            if start >= READ_BEFORE and len(wanted) <= FEW:
                return self._one_by_one(events, key, wanted)
            events.read_on()

    def recent(self, key: str, space: Space) -> KeySet:
        """The partitions that the newest events of an asset were about."""
        if key not in self._recent:
            events = self._of(key, space)
            if not events.rows and not events.is_whole:
                events.read_on()
            newest = events.keys[:FIRST_PAGE]
            self._recent[key] = KeySet.ranges_of(each for keys in newest for each in keys.ranges)
        return self._recent[key]

    def _of(self, key: str, space: Space) -> _Events:
        known = self._events.get(key)
        if known is None:
            known = self._events[key] = _Events(self._history, key, space)
        return known

    def _one_by_one(self, events: _Events, key: str, wanted: KeySet) -> Change | None:
        found = [(row, no) for no in wanted if (row := events.newest_of(no)) is not None]
        if not found:
            return None
        row, no = max(found, key=lambda each: each[0].at)
        return _change(key, events.space, row, KeySet.span(no, no + 1))


def _change(key: str, space: Space, row: AssetEventRow, keys: KeySet) -> Change:
    data = msgspec.msgpack.encode((key, row.partition, row.at, version_in(row)))
    text = text_of(space, next(pieces(space, keys, len(keys))))
    return Change(blake2b(data, digest_size=8).hexdigest(), text, row.at, row)
