"""The last change among partitions, against looking at all of history."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.engine.assets import news
from plait.engine.assets.news import News
from plait.engine.partitions.keysets import KeySet
from plait.engine.partitions.spaces import parse, space_of
from plait.model.assets import HistoryEvent
from plait.model.ids import RunId, TaskNo
from plait.model.partitions import Names
from plait.model.rows import AssetEventRow

SPACE = space_of(Names(keys=tuple("abcdefgh")))
TEXTS = st.sampled_from(["a", "b", "c", "d", "e", "b...d", "a...h", "gone"])
EVENTS = st.lists(st.tuples(TEXTS, st.sampled_from(["1", "2"]), st.booleans()), max_size=40)


class Past:
    """A history, which counts the rows that were read."""

    def __init__(self, events: Sequence[tuple[str, str, bool]]):
        self.rows: list[AssetEventRow] = []
        at = 1.0
        for no, (text, version, later) in enumerate(events):
            at += later  # several things may happen at one moment
            data = msgspec.json.encode(HistoryEvent(data_version=version))
            about = {"key": "up", "partition": text, "at": at, "run_id": RunId("r"), "no": TaskNo(no)}
            self.rows.insert(0, AssetEventRow(**about, kind="materialized", data=data))
        self.read = 0

    def asset_history(
        self,
        key: str,
        *,
        partition: str | None = None,
        kinds: Sequence[str] = (),
        before: float | None = None,
        limit: int = 50,
    ) -> list[AssetEventRow]:
        found = [row for row in self.rows if partition in (None, row.partition) and (before is None or row.at < before)]
        self.read += len(found[:limit])
        return found[:limit]


def naive(past: Past, wanted: KeySet) -> AssetEventRow | None:
    for row in past.rows:
        keys = parse(SPACE, row.partition) if row.partition != "gone" else KeySet()
        earlier = [each for each in past.rows if each.partition == row.partition and each.at < row.at]
        if keys & wanted and (not earlier or earlier[0].data != row.data):
            return row
    return None


@pytest.mark.parametrize("most", [2, 1000])
@given(events=EVENTS, wanted=st.sets(st.integers(0, 7)))
def test_the_last_change_is_found(most: int, events: list[tuple[str, str, bool]], wanted: set[int]):
    past, keys = Past(events), KeySet.of(wanted)
    expected = naive(past, keys)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(news, "FIRST_PAGE", 2)
        patch.setattr(news, "FEW", 0)
        patch.setattr(news, "READ_BEFORE", most)
        found = News(past).latest("up", SPACE, keys)
    assert (found.event if found is not None else None) == expected


def test_what_is_long_ago_is_looked_up():
    """One partition of which nothing happened for long costs no reading of all that happened since."""
    events = [("a", "1", True), *[("b", str(no), True) for no in range(50_000)]]
    past = Past(events)
    found = News(past).latest("up", SPACE, KeySet.span(0, 1))
    assert found is not None
    assert (found.text, found.at) == ("a", 2.0)
    assert past.read < 10_000
