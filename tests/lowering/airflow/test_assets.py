"""Airflow: scheduling by assets.

Sources: `semantics/airflow.md` ("Schedule values": asset list, asset `&`/`|` expressions, AssetOrTimeSchedule); Airflow
3.3 documentation, authoring-and-scheduling/asset-scheduling.
"""

from typing import Any

from plait.model.graph import Graph, TriggerSpec
from plait.testing import World, WorldRun
from tests.lowering.building import FAILS, dag, materializes


def asset(key: str) -> dict[str, Any]:
    """`Asset("key")` in a schedule."""
    return {"op": "asset", "key": key}


def all_of(*parts: dict[str, Any]) -> dict[str, Any]:
    """A list of assets, or `a & b`."""
    return {"op": "all", "parts": list(parts)}


def any_of(*parts: dict[str, Any]) -> dict[str, Any]:
    """`a | b`."""
    return {"op": "any", "parts": list(parts)}


def consumer(condition: dict[str, Any]) -> Graph:
    """A DAG that is scheduled by assets."""
    return dag("use", name="consumer", triggers=(TriggerSpec(kind="asset", spec=condition),))


def produce(world: World, *keys: str) -> WorldRun:
    """A run of a DAG whose only task has these outlets."""
    return world.start(dag("make", name="producer"), {"make": materializes(*keys)})


def test_an_asset_and_waits_for_all_of_its_assets():
    """asset-scheduling, "Multiple assets": the DAG runs once all have been updated since it last ran; an asset that is
    updated several times counts once, and the run gets all of its events."""
    world = World()
    world.offer(consumer(all_of(asset("a"), asset("b"))))
    produce(world, "a")
    produce(world, "a")
    assert world.runs_of("consumer") == []
    produce(world, "b")
    (run,) = world.runs_of("consumer")
    assert run.state == "success"
    assert [event["key"] for event in run.row.extra["asset_events"]] == ["a", "a", "b"]
    produce(world, "b")
    assert len(world.runs_of("consumer")) == 1
    produce(world, "a")
    assert len(world.runs_of("consumer")) == 2


def test_an_asset_or_runs_at_each_update():
    """asset-scheduling, "Conditional asset scheduling with logical expressions": `a | b`."""
    world = World()
    world.offer(consumer(any_of(asset("a"), asset("b"))))
    produce(world, "a")
    produce(world, "b")
    assert len(world.runs_of("consumer")) == 2


def test_asset_expressions_nest():
    """The same section: `a | (b & c)`."""
    world = World()
    world.offer(consumer(any_of(asset("a"), all_of(asset("b"), asset("c")))))
    produce(world, "b")
    assert world.runs_of("consumer") == []
    produce(world, "c")
    assert len(world.runs_of("consumer")) == 1


def test_a_task_that_fails_updates_no_asset():
    """asset-scheduling: an asset is marked as updated only if the task completes successfully."""
    world = World()
    world.offer(consumer(asset("a")))
    world.start(dag("make", name="producer"), {"make": FAILS})
    assert world.runs_of("consumer") == []


def test_one_task_that_updates_both_assets_starts_one_run():
    """asset-scheduling: outlets=[a, b]."""
    world = World()
    world.offer(consumer(all_of(asset("a"), asset("b"))))
    produce(world, "a", "b")
    assert len(world.runs_of("consumer")) == 1


def test_a_paused_consumer_counts_no_updates():
    """`AssetManager` queues nothing for a DAG that is paused; what it had queued before stays."""
    world = World()
    world.offer(consumer(all_of(asset("a"), asset("b"))))
    produce(world, "a")
    world.scheduler.pause_workflow("consumer", paused=True)
    produce(world, "b")
    world.scheduler.pause_workflow("consumer", paused=False)
    world.settle()
    assert world.runs_of("consumer") == []
    produce(world, "b")
    assert [run.state for run in world.runs_of("consumer")] == ["success"]


def test_a_time_or_assets():
    """timetables, `AssetOrTimeSchedule`: a run at each time, and one each time the assets are updated; a run of the
    timetable leaves the queue of updates as it is."""
    cron = {"kind": "cron", "cron": "0 * * * *"}
    either = {"parts": [cron, {"kind": "asset", **all_of(asset("a"), asset("b"))}]}
    world = World()
    world.offer(dag("use", name="consumer", triggers=(TriggerSpec(kind="any", spec=either),)))
    produce(world, "a")
    world.advance(3600)
    [timed] = world.runs_of("consumer")
    assert "asset_events" not in timed.row.extra
    produce(world, "b")
    [_, run] = world.runs_of("consumer")
    assert [event["key"] for event in run.row.extra["asset_events"]] == ["a", "b"]
    world.advance(3600)
    assert len(world.runs_of("consumer")) == 3


def test_a_run_is_told_what_updated_its_assets():
    """`triggering_asset_events`: of each asset the events, with the task and the run that they come from."""
    world = World()
    world.offer(consumer(asset("a")))
    source = produce(world, "a")
    [run] = world.runs_of("consumer")
    [event] = run.row.extra["asset_events"]
    assert (event["key"], event["workflow"], event["task"]) == ("a", "producer", "make")
    assert event["run_id"] == source.run_id
