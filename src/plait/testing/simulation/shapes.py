"""Random workflows."""

from random import Random
from typing import Any

from plait.engine.schedule_specs import spec_of
from plait.model.graph import (
    CodeRef,
    Edge,
    FromOutput,
    Graph,
    HookSpec,
    MapSpec,
    OverLiteral,
    OverOutput,
    TaskSpec,
    TriggerSpec,
)
from plait.model.policies import Collision, LimitUse, OutcomeRule, RetryPolicy, RunPolicy, TriggerRule
from plait.model.schedules import AllOf, AnyOf, AssetCondition, AssetUpdates, Catchup, Event

SMALL, WIDE = "pool:small", "pool:wide"
SIZES = {SMALL: 1, WIDE: 3}
"""The pools that there are."""
_RULES = (TriggerRule.ALL_DONE, TriggerRule.NONE_FAILED, TriggerRule.ONE_SUCCESS, TriggerRule.ALWAYS)


def dag(rng: Random, name: str, *, most: int = 6, policy: RunPolicy | None = None, **more: Any) -> Graph:
    """A DAG of a few tasks, with some of everything."""
    keys = [f"t{number}" for number in range(rng.randint(1, most))]
    edges: list[Edge] = []
    nodes: list[TaskSpec] = []
    for number, key in enumerate(keys):
        above = [up for up in keys[:number] if rng.random() < 1.2 / number]
        edges += [Edge(upstream=up, downstream=key) for up in above]
        nodes.append(_task(rng, key, above))
    return Graph(
        name=name,
        nodes=tuple(nodes),
        edges=tuple(edges),
        outcome=rng.choice((OutcomeRule.LEAVES, OutcomeRule.ANY_FAILURE)),
        policy=policy if policy is not None else _policy(rng),
        hooks=(_hook("failed"), _hook("success")) if rng.random() < 0.1 else (),
        **more,
    )


def _task(rng: Random, key: str, above: list[str]) -> TaskSpec:
    limits: tuple[LimitUse, ...] = ()
    if rng.random() < 0.3:
        limits = (LimitUse(key=rng.choice((SMALL, WIDE))),)
    elif rng.random() < 0.1:
        limits = (LimitUse(key=SMALL), LimitUse(key=WIDE, slots=2))
    return TaskSpec(
        key=key,
        inputs={"it": FromOutput(task=above[0])} if above and rng.random() < 0.3 else {},
        mapping=_mapping(rng, above) if rng.random() < 0.15 else None,
        trigger_rule=rng.choice(_RULES) if rng.random() < 0.2 else TriggerRule.ALL_SUCCESS,
        retry=RetryPolicy(limit=rng.choice((0, 1, 2, 3)), delays=(rng.choice((0.0, 0.5, 5.0, 20.0)),)),
        timeout=3.0 if rng.random() < 0.1 else None,
        limits=limits,
        max_active=1 if rng.random() < 0.1 else None,
        priority=rng.choice((0, 0, 0, 5)),
        soft_fail=rng.random() < 0.05,
        teardown=rng.random() < 0.05,
        hooks=(_hook("failed"), _hook("retry")) if rng.random() < 0.1 else (),
    )


def _mapping(rng: Random, above: list[str]) -> MapSpec:
    if above and rng.random() < 0.5:
        return MapSpec(sources=(OverOutput(task=above[0]),))
    return MapSpec(sources=(OverLiteral(length=rng.randint(0, 4)),))


def _hook(on: str) -> HookSpec:
    return HookSpec(on=on, code=CodeRef(location="simulated", name="hook"))


def _policy(rng: Random) -> RunPolicy:
    return RunPolicy(
        max_active_runs=rng.choice((1, 2)) if rng.random() < 0.3 else None,
        collision=rng.choice((Collision.ENQUEUE, Collision.ENQUEUE, Collision.SKIP, Collision.CANCEL)),
        max_active_tasks=rng.choice((1, 2)) if rng.random() < 0.15 else None,
        timeout=120.0 if rng.random() < 0.1 else None,
        fail_fast=rng.random() < 0.1,
        reruns=1 if rng.random() < 0.05 else 0,
    )


def scheduled(rng: Random, name: str, anchor: str) -> Graph:
    """A small DAG that time starts."""
    seconds = rng.choice((10.0, 17.0, 60.0))
    catchup = Catchup.ALL if rng.random() < 0.6 else Catchup.LATEST
    trigger = TriggerSpec(kind="interval", spec={"anchor": anchor, "seconds": seconds}, catchup=catchup)
    policy = RunPolicy(max_active_runs=rng.choice((1, 2)) if rng.random() < 0.6 else None)
    return dag(rng, name, most=3, policy=policy, triggers=(trigger,))


MAKES = "make_"
"""What begins the keys of tasks that update an asset; the rest is the asset's key."""
ASSETS = ("a", "b")
EVENT = "told"


def makes(rng: Random, name: str) -> Graph:
    """A DAG whose tasks update assets."""
    keys = rng.sample(ASSETS, rng.randint(1, len(ASSETS)))
    retry = RetryPolicy(limit=rng.choice((0, 2)), delays=(rng.choice((0.0, 5.0)),))
    return Graph(name=name, nodes=tuple(TaskSpec(key=f"{MAKES}{key}", retry=retry) for key in keys))


def waits(rng: Random, name: str) -> Graph:
    """A small DAG that updates of assets start, or events, or both."""
    a, b = (AssetUpdates(op="asset", key=key) for key in ASSETS)
    both = AssetUpdates(op="all", parts=tuple(AssetCondition(op="asset", key=key) for key in ASSETS))
    told = Event(name=EVENT)
    when = rng.choice((a, both, AnyOf(parts=(a, b)), AllOf(parts=(b, told)), AnyOf(parts=(told, both))))
    return dag(rng, name, most=2, policy=RunPolicy(), triggers=(spec_of(when),))


def calls(name: str, workflow: str, retries: int) -> Graph:
    """A DAG of which one task is a run of another workflow."""
    nodes = (
        TaskSpec(key="before"),
        TaskSpec(key="call", runner="run", workflow=workflow, retry=RetryPolicy(limit=retries, delays=(1.0,))),
        TaskSpec(key="after", trigger_rule=TriggerRule.ALL_DONE),
    )
    edges = (Edge(upstream="before", downstream="call"), Edge(upstream="call", downstream="after"))
    return Graph(name=name, nodes=nodes, edges=edges)


def flow(rng: Random, name: str) -> Graph:
    """A flow: one body, which adds what it wants."""
    body = TaskSpec(
        key=name,
        runner="flow",
        executor="host",
        retry=RetryPolicy(limit=rng.randint(0, 2), delays=(rng.choice((0.0, 5.0)),)),
        limits=(LimitUse(key=WIDE),) if rng.random() < 0.2 else (),
    )
    return Graph(name=name, kind="flow", nodes=(body,), outcome=OutcomeRule.BODY)
