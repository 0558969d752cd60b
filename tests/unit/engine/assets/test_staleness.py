"""Why assets are stale, and how new they are."""

from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from plait import PartitionMapping, daily, weekly
from plait.engine.assets.freshness import Age, check
from plait.engine.assets.index import AssetIndex
from plait.engine.assets.staleness import Status, assess, changed, states, version_of
from plait.model.assets import AssetDep, AssetGraph, AssetKind, AssetSpec, Freshness
from plait.model.rows import AssetRow
from tests.unit.engine.assets.graphs import chain, index, row, spec


def made(key: str, version: str, at: float = 1.0, **inputs: str) -> AssetRow:
    return row(key, version, at=at, inputs=msgspec.json.encode(inputs))


def told(found: AssetIndex, *rows: AssetRow) -> dict[str, list[str]]:
    by_key = {each.key: each for each in rows}
    assessed = assess(found, by_key.get)
    return {key: [cause.text for cause in each.causes] for key, each in assessed.items() if each.causes}


def test_what_was_never_materialized_is_missing():
    assert told(chain("a > b"), made("a", "1")) == {"b": ["never materialized"]}
    assert assess(chain("a"), lambda key: None)["a"].status is Status.MISSING


def test_a_newer_data_version_upstream():
    rows = [made("a", "2"), made("b", "5", a="1"), made("c", "7", b="5")]
    assert told(chain("a > b > c"), *rows) == {
        "b": ["upstream a has newer data version"],
        "c": ["upstream b is stale"],
    }
    assert told(chain("a > b > c"), made("a", "1"), *rows[1:]) == {}


def test_another_code_version():
    found = index(spec("a", code_version="2"), spec("b"))
    rows = [row("a", "x", code_version="1"), row("b", "y", code_version="3")]
    assert told(found, *rows) == {
        "a": ["code version changed 1 -> 2"],
        "b": ["code version changed 3 -> (none)"],
    }
    assert changed(found, {each.key: each for each in rows}.get) == {"a", "b"}


def test_other_dependencies():
    rows = [made("a", "1"), made("new", "1"), made("b", "5", a="1", old="4")]
    assert told(chain("a > b; new > b"), *rows) == {"b": ["was not made from new yet", "is not made from old any more"]}


def test_what_somebody_else_makes_is_never_stale_but_what_is_made_from_it_may_be():
    found = index(spec("x", kind=AssetKind.EXTERNAL), spec("seen", kind=AssetKind.OBSERVED), spec("b", "x", "seen"))
    assert told(found, made("b", "5", seen="1"), row("seen", "2", observed=True)) == {
        "b": ["upstream seen has newer data version"]
    }


def test_the_same_code_and_inputs_are_the_same_version():
    assert version_of("1", {"a": "x", "b": "y"}) == version_of("1", {"b": "y", "a": "x"})
    assert len({version_of("1", {"a": "x"}), version_of("2", {"a": "x"}), version_of("1", {"a": "y"})}) == 3


def test_states_for_selections():
    found = chain("a > b > c")
    rows = {each.key: each for each in (made("a", "2"), made("b", "5", a="1"))}
    assert {name: state() for name, state in states(found, rows.get).items()} == {
        "changed": set(), "missing": {"c"}, "stale": {"b", "c"},
    }  # fmt: skip


STEPS = st.lists(st.sampled_from("abcd"), max_size=12)


@given(STEPS)
def test_what_is_made_in_order_is_fresh_and_an_update_makes_stale_what_is_below(steps: list[str]):
    """Against a model: an asset is fresh when it was made after everything upstream was last made."""
    found = chain("a > b > d; a > c > d")
    rows: dict[str, AssetRow] = {}
    clock = dict.fromkeys("abcd", 0)
    for now, key in enumerate(steps, 1):
        inputs = {dep: rows[dep].data_version for dep in found.upstream[key] if dep in rows}
        rows[key] = made(key, f"v{now}", **inputs)  # type: ignore[arg-type]
        clock[key] = now

    def is_fresh(key: str) -> bool:
        above = found.upstream[key]
        return bool(clock[key]) and all(is_fresh(dep) and clock[dep] <= clock[key] for dep in above)

    fresh = {key for key, each in assess(found, rows.get).items() if each.status is Status.FRESH}
    assert fresh == {key for key in "abcd" if is_fresh(key)}


# --- freshness -------------------------------------------------------------------------------------------------------


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NINE = Freshness(deadline="0 9 * * *")


def test_a_deadline_was_made_since_the_one_before():
    now = at("2026-01-05T10:00")
    assert check(NINE, row("a", at=at("2026-01-05T08:59")), now).state is Age.FRESH
    assert check(NINE, row("a", at=at("2026-01-04T09:00")), now).state is Age.FRESH
    late = check(NINE, row("a", at=at("2026-01-04T08:59")), now)
    assert (late.state, late.late_at) == (Age.LATE, at("2026-01-05T09:00"))
    assert late.why == (
        "missed its deadline of 2026-01-05T09:00:00+00:00: was materialized last at 2026-01-04T08:59:00+00:00"
    )
    assert check(NINE, None, now).why.endswith("was never materialized")


def test_a_deadline_with_a_shorter_time_and_a_zone():
    berlin = Freshness(deadline="0 9 * * *", tz="Europe/Berlin", within=3600)
    now = at("2026-01-05T08:30")
    assert check(berlin, row("a", at=at("2026-01-05T07:00")), now).state is Age.FRESH
    assert check(berlin, row("a", at=at("2026-01-05T06:59")), now).state is Age.LATE
    assert check(berlin, row("a", at=at("2026-01-05T07:00")), now).late_at == at("2026-01-06T08:00")
    assert check(NINE, row("a", at=at("2026-01-05T09:00")), at("2026-01-06T08:00")).late_at is None


def test_lag_counts_through_what_is_upstream():
    lag = Freshness(lag=3600)
    old = row("a", at=10_000.0, data_time=5_000.0)
    assert check(lag, old, 8_600.0).state is Age.FRESH
    late = check(lag, old, 8_601.0)
    assert (late.state, late.late_at) == (Age.LATE, 8_600.0)
    assert check(lag, None, 1.0).state is Age.LATE


def test_both_and_none():
    both = Freshness(deadline="0 9 * * *", lag=60)
    now = at("2026-01-05T10:00")
    assert check(both, row("a", at=at("2026-01-05T09:30")), now).state is Age.LATE
    fresh = check(both, row("a", at=now - 10), now)
    assert (fresh.state, fresh.late_at) == (Age.FRESH, now + 50)
    assert check(None, None, now).state is Age.UNKNOWN


def test_what_is_made_from_other_partitions_is_not_stale_for_one_of_them():
    """A week has no single day whose data version it has; a balance is made from that of the day before."""
    days, weeks = daily("2026-01-01").spec(), weekly("2026-01-01").spec()
    before = msgspec.to_builtins(PartitionMapping.windows(-1).mapping)
    assets = (
        AssetSpec(key="day", step="day", partitions=days),
        AssetSpec(key="week", step="week", partitions=weeks, deps=(AssetDep(key="day"),)),
        AssetSpec(key="same", step="same", partitions=days, deps=(AssetDep(key="day"),)),
        AssetSpec(key="own", step="own", partitions=days, deps=(AssetDep(key="own", mapping=before),)),
    )
    found = AssetIndex(AssetGraph(assets=assets))
    assert {key: found.mapped(key) for key in found.keys} == {
        "day": set(), "week": {"day"}, "same": set(), "own": {"own"}
    }  # fmt: skip
    assert told(found, *(made(key, "1") for key in found.keys)) == {"same": ["was not made from day yet"]}
