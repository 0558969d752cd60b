"""Small builders: graphs as the dialects will lower to them, and outcomes as their workers will report them.

They use nothing but `plait.model`; what a dialect will have to do is visible here.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from plait.model.graph import CodeRef, Edge, Graph, HookSpec, TaskSpec
from plait.model.outcome import AssetEvent, CheckResult, Outcome, RetryVerdict, Verdict
from plait.model.policies import FlowReplay, OutcomeRule, RetryPolicy, RunPolicy, TriggerRule
from plait.testing import failure

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

# --- graphs -----------------------------------------------------------------------------------------------------------


def chains(text: str) -> tuple[list[str], list[Edge]]:
    """Tasks and order edges of `a, b > c > d; a > d`; `s !> c` is a guard, `x:left > y` an edge from an output."""
    keys: dict[str, None] = {}
    edges: list[Edge] = []
    for chain in filter(str.strip, text.split(";")):
        above: list[str] = []
        guard = False
        for step in chain.split(">"):
            names = [name.strip() for name in step.rstrip("! ").split(",")]
            for name in names:
                down = name.partition(":")[0]
                keys[down] = None
                for up in above:
                    key, _, output = up.partition(":")
                    edges.append(Edge(upstream=key, downstream=down, output=output or None, guard=guard))
            above, guard = names, step.rstrip().endswith("!")
    return list(keys), edges


def graph(text: str, options: Mapping[str, Mapping[str, Any]] | None = None, **more: Any) -> Graph:
    """A graph of chains. `options` are fields of single tasks, `more` are fields of the graph."""
    keys, edges = chains(text)
    given = options or {}
    keys += [key for key in given if key not in keys]
    nodes = tuple(TaskSpec(key=key, **given.get(key, {})) for key in keys)
    return Graph(name=more.pop("name", "workflow"), nodes=nodes, edges=(*edges, *more.pop("edges", ())), **more)


def dag(text: str, options: Mapping[str, Mapping[str, Any]] | None = None, **more: Any) -> Graph:
    """An Airflow DAG: its leaves decide. A teardown does not count unless it says so (`on_failure_fail_dagrun`)."""
    made = graph(text, options, outcome=OutcomeRule.LEAVES, **more)
    nodes = tuple(
        msgspec.structs.replace(
            node, trigger_rule=TriggerRule.ALL_DONE_SETUP_SUCCESS, counts="counts" in _of(options, node)
        )
        if node.teardown
        else node
        for node in made.nodes
    )
    return msgspec.structs.replace(made, nodes=nodes)


def _of(options: Mapping[str, Mapping[str, Any]] | None, node: TaskSpec) -> Mapping[str, Any]:
    return (options or {}).get(node.key, {})


def job(text: str, options: Mapping[str, Mapping[str, Any]] | None = None, **more: Any) -> Graph:
    """A Dagster job: any failure fails it, after everything that can run has run."""
    return graph(text, options, outcome=OutcomeRule.ANY_FAILURE, kind=more.pop("kind", "assets"), **more)


def flow(name: str = "flow", *, replay: FlowReplay = FlowReplay.PERSISTED, **more: Any) -> Graph:
    """A Prefect flow: one node, whose body decides. Prefect 3 by default."""
    policy = more.pop("policy", RunPolicy())
    node = TaskSpec(key=name, runner="flow", replay=replay, **more)
    return Graph(name=name, kind="flow", nodes=(node,), outcome=OutcomeRule.BODY, policy=policy)


def hook(on: str, name: str = "callback") -> HookSpec:
    """A user's callback."""
    return HookSpec(on=on, code=CodeRef(location="dags.py", name=name))


def rule(name: str) -> dict[str, TriggerRule]:
    """`{"trigger_rule": ...}`."""
    return {"trigger_rule": TriggerRule(name)}


def retries(limit: int, *delays: float, **more: Any) -> dict[str, RetryPolicy]:
    """`{"retry": ...}`."""
    return {"retry": RetryPolicy(limit=limit, delays=delays or (0.0,), **more)}


# --- outcomes ---------------------------------------------------------------------------------------------------------

OK = Outcome()
FAILS = failure()
SKIPS = Outcome(verdict=Verdict.SKIPPED)
NEVER_AGAIN = failure("AirflowFailException: no", retry=RetryVerdict.NEVER)


def many(length: int | list[str], output: str = "result") -> Outcome:
    """A success whose output can be mapped over."""
    return Outcome(lengths={output: length})


def emits(*outputs: str, **more: Any) -> Outcome:
    """A success that emitted just these outputs."""
    return Outcome(emitted=outputs, **more)


def chooses(*tasks: str) -> Outcome:
    """A branch."""
    return Outcome(branch=tasks)


def materializes(*keys: str, partitions: Iterable[str | None] = (None,), **more: Any) -> Outcome:
    """A success that materialized these assets."""
    events = tuple(AssetEvent(key=key, partition=partition) for key in keys for partition in partitions)
    return Outcome(assets=events, **more)


def checked(name: str, passed: bool, **more: Any) -> CheckResult:
    """The result of a check."""
    return CheckResult(name=name, passed=passed, **more)
