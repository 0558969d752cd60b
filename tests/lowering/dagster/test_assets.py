"""Dagster: asset jobs, checks, partitions, selections.

Source: `semantics/dagster.md`, "Asset checks", "Backfill", "IO", "Skips", "Data/code versions".
"""

import pytest

from plait.model.events import AssetRecorded, CheckRecorded
from plait.model.graph import FromAsset, Graph, OutputSpec, TriggerSpec
from plait.model.outcome import AssetEvent, Outcome
from plait.testing import World
from tests.lowering.building import FAILS, OK, checked, emits, job, materializes, retries


def asset(key: str, **more: object) -> dict[str, object]:
    """A node that is one asset."""
    return {"outputs": (OutputSpec(asset=key),), **more}


CHAIN = {key: asset(key) for key in ("raw", "clean", "revenue")}
PARTS = [f"2026-01-0{day}" for day in (1, 2, 3)]


# --- checks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "states", "state"),
    [
        (checked("nulls", False, blocking=True), ("failed", "upstream_failed"), "failed"),
        (checked("nulls", False, blocking=True, severity="warn"), ("success", "success"), "success"),
        (checked("nulls", False), ("success", "success"), "success"),
        (checked("nulls", True, blocking=True), ("success", "success"), "success"),
    ],
    ids=["blocking", "blocking, but a warning", "not blocking", "passed"],
)
def test_a_check_inside_one_step(check, states, state):
    """ "Asset checks" (check_specs on the asset): blocking + ERROR failure => STEP_FAILURE, downstream not run, run
    FAILURE; blocking WARN or non-blocking failure => run succeeds. The asset is materialized in any case."""
    run = World().start(job("raw > clean", CHAIN | {}), {"raw": materializes("raw", checks=(check,))})
    assert ((run.states["raw"], run.states["clean"]), run.state) == (states, state)
    assert [event.key for event in run.events(AssetRecorded)] == ["raw"]
    assert [(event.name, event.passed) for event in run.events(CheckRecorded)] == [("nulls", check.passed)]


def test_a_blocking_check_in_a_step_of_its_own():
    """ "Asset checks": op `<asset>_<check>`, in the same run after the asset; what is downstream of the asset waits for
    its blocking checks."""
    made = job("raw > raw_nulls > clean; raw > clean, other_check", CHAIN)
    bad = Outcome(checks=(checked("nulls", False, blocking=True),))
    run = World().start(made, {"raw": materializes("raw"), "raw_nulls": bad})
    assert run.states["raw"] == "success"
    assert (run.states["raw_nulls"], run.states["clean"], run.states["other_check"]) == (
        "failed", "upstream_failed", "success"
    )  # fmt: skip


def test_a_non_blocking_check_in_a_step_of_its_own():
    """ "Asset checks": nothing waits for it, and its failed result fails nothing."""
    made = job("raw > clean, raw_nulls", CHAIN)
    run = World().start(made, {"raw_nulls": Outcome(checks=(checked("nulls", False),))})
    assert (run.states["clean"], run.state) == ("success", "success")


def test_a_blocking_check_without_a_result_does_not_block():
    """ "Asset checks": no result from a blocking check does not block (1.13); a plain bool records no evaluation."""
    run = World().start(job("raw > raw_nulls > clean", CHAIN), {"raw_nulls": OK})
    assert (run.states["clean"], run.events(CheckRecorded)) == ("success", [])


def test_a_failed_blocking_check_is_not_retried():
    """The evaluation is the result; running the step again would not change the asset that it judged."""
    options = CHAIN | {"raw": asset("raw", **retries(3, 60))}
    bad = materializes("raw", checks=(checked("nulls", False, blocking=True),))
    run = World().start(job("raw > clean", options), {"raw": bad})
    assert (run.states["raw"], run.task("raw").attempt) == ("failed", 1)


# --- partitions -------------------------------------------------------------------------------------------------------


def test_a_single_run_over_a_partition_range():
    """ "Backfill": BackfillPolicy.single_run() is one run with a range; context.partition_keys work, and there is one
    materialization event per partition."""
    script = {key: materializes(key, partitions=PARTS) for key in ("raw", "clean")}
    world = World()
    run = world.start(job("raw > clean", CHAIN), script, partition=f"{PARTS[0]}...{PARTS[-1]}")
    assert run.executions("raw")[0].run.partition == "2026-01-01...2026-01-03"
    assert [(row.key, row.partition) for row in world.store.assets()] == [
        (key, part) for key in ("clean", "raw") for part in PARTS
    ]
    assert len(run.events(AssetRecorded)) == 6


def test_one_run_a_partition():
    """ "Backfill": the default policy is multi_run(1): a run for each partition, with its key."""
    world = World()
    made = job("raw > clean", CHAIN)
    for part in PARTS:
        script = {key: materializes(key, partitions=[part]) for key in ("raw", "clean")}
        assert world.start(made, script, partition=part).row.partition == part
    assert len(world.store.assets(["raw"])) == 3


def test_a_multi_partition_key_is_one_text():
    """ "Partitions": two dimensions, sorted by name, key `a|b`."""
    run = World().start(
        job("raw", CHAIN | {}), {"raw": materializes("raw", partitions=["2026-01-01|eu"])}, partition="2026-01-01|eu"
    )
    assert run.events(AssetRecorded)[0].partition == "2026-01-01|eu"


# --- selections -------------------------------------------------------------------------------------------------------


def multi(*selected: str) -> Graph:
    """`@multi_asset(can_subset=True)` of a, b, c with one consumer each, planned for a selection: what is not
    selected is no output of the node, and has no consumers in the run."""
    outputs = tuple(OutputSpec(name=key, asset=key, required=False) for key in ("a", "b", "c") if key in selected)
    edges = "; ".join(f"three:{key} > use_{key}" for key in selected)
    return job(edges, {"three": {"outputs": outputs, "metadata": {"selected": list(selected)}}})


def test_a_multi_asset_subset():
    """`@multi_asset(can_subset=True)` (11/3r): a run materializes the selected assets; the node is told which."""
    run = World().start(multi("a", "c"), {"three": emits("a", "c", assets=(AssetEvent(key="a"), AssetEvent(key="c")))})
    assert run.states == {"three": "success", "use_a": "success", "use_c": "success"}
    assert [event.key for event in run.events(AssetRecorded)] == ["a", "c"]


def test_a_skippable_asset_of_a_multi_asset():
    """ "Skips": a multi-asset with `specs` emits un-yielded assets by itself unless skippable=True, which skips."""
    run = World().start(multi("a", "b"), {"three": emits("a")})
    assert (run.states["use_a"], run.states["use_b"], run.state) == ("success", "skipped", "success")


def test_a_multi_asset_that_fails_after_one_asset():
    """A step that yields an asset and then fails has materialized that asset: the event is there, the step failed."""
    run = World().start(multi("a", "b"), {"three": FAILS})
    assert set(run.states.values()) == {"failed", "upstream_failed"}


def test_a_selection_reads_what_it_does_not_materialize():
    """define_asset_job(selection=...) (261/21r): an upstream outside of the selection is read as it was last
    materialized, and no edge waits for it."""
    made = job("clean > revenue", {"clean": {**CHAIN["clean"], "inputs": {"raw": FromAsset(key="raw")}}, "revenue": {}})
    run = World().start(made)
    assert (run.order, run.state) == (["clean", "revenue"], "success")


# --- what is recorded -------------------------------------------------------------------------------------------------


def test_data_versions_and_metadata_are_kept_with_the_materialization():
    """ "Data/code versions": the worker computes them, from its code and the versions of what it read."""
    event = AssetEvent(key="raw", data_version="f00", metadata={"rows": 3})
    world = World()
    world.start(job("raw", CHAIN | {}), {"raw": Outcome(assets=(event,))})
    (row,) = world.store.assets(["raw"])
    assert (row.data_version, row.metadata) == ("f00", b'{"rows":3}')


def test_the_latest_materialization_counts():
    """Two runs of one asset: the store has the newer one."""
    world = World()
    made = job("raw", {"raw": CHAIN["raw"]})
    world.start(made, {"raw": materializes("raw")})
    world.advance(60)
    latest = world.start(made, {"raw": materializes("raw")})
    assert [row.run_id for row in world.store.assets(["raw"])] == [latest.run_id]


def test_an_update_of_an_asset_starts_a_job():
    """@asset_sensor, and the simplest of automation conditions (any_deps_updated): a trigger on the asset. Conditions
    with a memory (`since`, `newly_missing`, `in_latest_time_window`) are aggregates of their own: see the design
    page."""
    world = World()
    trigger = TriggerSpec(kind="asset", spec={"op": "asset", "key": "raw"})
    world.offer(job("revenue", {"revenue": CHAIN["revenue"]}, name="downstream", triggers=(trigger,)))
    world.start(job("raw", {"raw": CHAIN["raw"]}), {"raw": materializes("raw")})
    assert [run.state for run in world.runs_of("downstream")] == ["success"]
