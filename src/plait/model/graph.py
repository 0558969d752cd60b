"""The graph: a versioned, serializable definition of what runs, the one model that DAGs, flows and asset jobs lower to.

    Graph ── nodes: TaskSpec ── inputs: Binding        what the call gets
      │        │               outputs: OutputSpec     what it may emit
      │        └ mapping: MapSpec                      a mapped task: one task run per element
      ├─ groups: GroupSpec (mapping: a mapped group)   names, setup/teardown scopes, mapped scopes
      ├─ edges: Edge (data or order)                   who waits for whom
      └─ params, triggers, policies, outcome rule

A *mapped scope* is a mapped group or a mapped task; scopes nest. A task run is (node, map path, generation). An edge
inside a common scope joins equal paths; an edge that leaves a scope aggregates all of its instances.

Literals that are not plain data stay in code: the binding holds `InCode` with their path, and the worker, which loads
the same code, has the object. So a graph holds no address, no repr and no resolved date, and its hash means its
structure.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, cast

import msgspec

from plait.model.hashes import blake2b
from plait.model.ids import MapElement
from plait.model.policies import (
    CachePolicy,
    FlowReplay,
    LimitUse,
    OutcomeRule,
    RetryPolicy,
    RunPolicy,
    TriggerRule,
    Value,
)
from plait.model.schedules import Catchup

RESULT = "result"
"""The name of a task's output where it has only one."""


class CodeRef(Value):
    """Where code is found: a file or a module, and a qualified name in it.

    `location` is an absolute path or a dotted module name, `name` the qualified name, `line` where it begins.
    """

    location: str
    name: str
    line: int = 0


# --- what a call gets ------------------------------------------------------------------------------------------------


class Literal(Value, tag="literal"):
    """A plain value, known when the graph was made."""

    value: Any = None


class InCode(Value, tag="in_code"):
    """A value that is not plain data; the worker finds it in the loaded code, at this path of the node's arguments."""

    path: str = ""


class Param(Value, tag="param"):
    """The run's parameter `name`."""

    name: str


class FromOutput(Value, tag="output"):
    """What the upstream task emitted as `output`.

    From inside a mapped scope that both share it is the value at the equal path; from a scope that is left it is the
    list of all values in order of their path (a dict by key where the scope has keys and `keyed` is set).
    """

    task: str
    output: str = RESULT
    keyed: bool = False


class Element(Value, tag="element"):
    """The element of map source number `source` of the scope `scope` at this task run's map path."""

    scope: str
    source: int = 0


class FromAsset(Value, tag="from_asset"):
    """The value of an asset as it was last materialized, for the run's partition or, if it has none, at all."""

    key: str


class Template(Value, tag="template"):
    """Text rendered in the worker, by the dialect's own engine, with the run's context."""

    text: str


class FromContext(Value, tag="context"):
    """An item of the run's context: `logical_date`, `partition_key`, `run_id`, ..., or `context` for the object."""

    name: str


class ListOf(Value, tag="list"):
    """A list whose items are bound one by one; `kind` is list, tuple or set."""

    items: tuple["Binding", ...] = ()
    kind: str = "list"


class DictOf(Value, tag="dict"):
    """A dict with text keys whose values are bound one by one."""

    items: dict[str, "Binding"] = {}


Binding = Literal | InCode | Param | FromOutput | Element | Template | FromContext | FromAsset | ListOf | DictOf


# --- what a call may emit --------------------------------------------------------------------------------------------


class OutputSpec(Value):
    """A named output of a task.

    `required`: a success that does not emit it is a failure; an optional one that is not emitted skips what hangs on
    it. `dynamic`: emitted several times, under keys, and mapped over. `asset`: the key of the asset that it is. `io`:
    the name of the IO manager that stores it. `measured`: workers report its length and keys, because a scope maps
    over it.
    """

    name: str = RESULT
    required: bool = True
    dynamic: bool = False
    asset: str | None = None
    io: str | None = None
    measured: bool = False


# --- mapping ---------------------------------------------------------------------------------------------------------


class OverLiteral(Value, tag="over_literal"):
    """Map over something known when the graph was made: `length` elements, or `keys` for a dict."""

    length: int = 0
    keys: tuple[str, ...] | None = None


class OverOutput(Value, tag="over_output"):
    """Map over what an upstream task emitted. From a mapped upstream whose scope is left: over its successes."""

    task: str
    output: str = RESULT


class OverParam(Value, tag="over_param"):
    """Map over the value of a run parameter."""

    name: str


MapSource = OverLiteral | OverOutput | OverParam


class MapSpec(Value):
    """How a scope expands.

    `how`: `product` of all sources (last fastest, as in Airflow's `expand`) or `zip` (equal lengths, else the scope
    fails). `limit`: more elements than this fail the scope. `concurrency`: live instances of one task at once.
    `empty`: what becomes of a scope without elements: `skip` (as in Airflow) or `remove`, as if it were not there, so
    that what collects it goes on with nothing (as in Dagster).
    """

    sources: tuple[MapSource, ...]
    how: str = "product"
    limit: int | None = None
    concurrency: int | None = None
    empty: str = "skip"


# --- waits -----------------------------------------------------------------------------------------------------------


class WatchSpec(Value):
    """Something outside of the run that a task waits for before it starts.

    `subject` names what is watched: `past` (this task, or `task`, in the run before), `run` (a run of `workflow`),
    `task` (task `task` of `workflow` at this run's logical date minus `offset` seconds), `asset` (a new event of asset
    `key`). `states`: what satisfies; `failing`: what fails the task (`past`: what makes it upstream_failed);
    `skipping`: what skips it. The task's `wait_timeout` bounds the wait.
    """

    subject: str
    workflow: str = ""
    task: str = ""
    key: str = ""
    offset: float = 0.0
    states: tuple[str, ...] = ("success",)
    failing: tuple[str, ...] = ()
    skipping: tuple[str, ...] = ()


class HookSpec(Value):
    """User code that is called when a task run or a run reaches `on` (a state), recorded, at least once."""

    on: str
    code: CodeRef


# --- nodes -----------------------------------------------------------------------------------------------------------


class TaskSpec(Value):
    """A node: how to call it, with what, and under which policies.

    `runner` names who calls it in the worker: `python`, `flow` (a body that adds children), `run` (another workflow
    as a run of its own), `pause` (asks a person for input), `wait` (until a trigger fires), `noop`, or a dialect's.
    `timeout` is seconds of one attempt; `wait_timeout` of a wait, from its first look: for `rescheduled` waits and for
    watches. `priority`: higher starts first. `max_active`: live instances per run. `setup`, `teardown`: of a scope,
    whose tasks (and teardown) the setup's guard edges lead to; a teardown also runs when its run is ended early.
    `counts`: whether its state counts for the run's outcome. `executor`: the name of the executor, or none for the
    run's.
    """

    key: str
    runner: str = "python"
    code: CodeRef | None = None
    title: str = ""
    doc: str = ""
    group: str | None = None
    inputs: dict[str, Binding] = {}
    outputs: tuple[OutputSpec, ...] = (OutputSpec(),)
    mapping: MapSpec | None = None
    trigger_rule: TriggerRule = TriggerRule.ALL_SUCCESS
    retry: RetryPolicy = RetryPolicy()
    timeout: float | None = None
    wait_timeout: float | None = None
    soft_fail: bool = False
    cache: CachePolicy | None = None
    persist: bool = False
    limits: tuple[LimitUse, ...] = ()
    max_active: int | None = None
    priority: int = 0
    executor: str | None = None
    setup: bool = False
    teardown: bool = False
    counts: bool = True
    depends_on_past: bool = False
    watches: tuple[WatchSpec, ...] = ()
    hooks: tuple[HookSpec, ...] = ()
    replay: FlowReplay = FlowReplay.ALL
    workflow: str = ""
    resources: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}


class Edge(Value):
    """`downstream` waits for `upstream`.

    `output`: the output whose emission satisfies the edge, none for order only. `guard`: must be satisfied whatever
    the trigger rule (a setup and the tasks of its scope): a failed guard makes upstream_failed, a skipped one skipped.
    """

    upstream: str
    downstream: str
    output: str | None = None
    guard: bool = False


class GroupSpec(Value):
    """A named group of tasks; with `mapping` a mapped group, whose tasks run once per element."""

    key: str
    parent: str | None = None
    title: str = ""
    mapping: MapSpec | None = None


class ParamSpec(Value):
    """A run parameter: its JSON Schema, and a default where it has one (`has_default`).

    `source`: where a run takes it from when nobody gives it: `logical_date`, `partition_key`, or none.
    """

    name: str
    schema: dict[str, Any] = {}
    default: Any = None
    has_default: bool = False
    source: str | None = None


class TriggerSpec(Value):
    """What starts runs of a workflow: `kind` and `spec` are one of `model.schedules.When`, as plain data; `catchup` is
    about the occurrences that nobody fired in time."""

    kind: str
    spec: dict[str, Any]
    catchup: Catchup = Catchup.LATEST


class Graph(Value, dict=True):
    """One version of one workflow. `kind` is dag, flow or assets; `result` the output that is the workflow's value.

    Trigger settings and documentation texts are not part of the hash; everything that decides what runs is.
    """

    name: str
    kind: str = "dag"
    nodes: tuple[TaskSpec, ...] = ()
    edges: tuple[Edge, ...] = ()
    groups: tuple[GroupSpec, ...] = ()
    params: tuple[ParamSpec, ...] = ()
    outcome: OutcomeRule = OutcomeRule.LEAVES
    result: tuple[str, str] | None = None
    policy: RunPolicy = RunPolicy()
    triggers: tuple[TriggerSpec, ...] = ()
    code: CodeRef | None = None
    doc: str = ""
    tags: tuple[str, ...] = ()
    hooks: tuple[HookSpec, ...] = ()
    metadata: dict[str, Any] = {}

    def hash(self) -> str:
        """A content hash (32 hex digits) of the structure: equal graphs, wherever and whenever they were made."""
        return self._hash

    @cached_property
    def _hash(self) -> str:
        bare = msgspec.structs.replace(self, triggers=(), doc="", code=None, tags=(), metadata={})
        nodes = tuple(
            msgspec.structs.replace(node, doc="", title="", code=None, hooks=_bare(node.hooks)) for node in bare.nodes
        )
        groups = tuple(msgspec.structs.replace(group, title="") for group in bare.groups)
        bare = msgspec.structs.replace(bare, nodes=nodes, groups=groups, hooks=_bare(bare.hooks))
        canonical = msgspec.json.encode(bare, order="deterministic")
        return blake2b(canonical, digest_size=16).hexdigest()

    @cached_property
    def limited(self) -> bool:
        """Whether its tasks ask for slots of limits; those that a flow's body calls may."""
        return self.kind == "flow" or any(node.limits for node in self.nodes)

    def lengths_of(self, values: Mapping[str, Any]) -> dict[str, int | list[str]]:
        """The lengths (or keys) of those of these parameters that scopes map over."""
        found: dict[str, int | list[str]] = {}
        mappings = [node.mapping for node in self.nodes] + [group.mapping for group in self.groups]
        for mapping in mappings:
            for source in mapping.sources if mapping is not None else ():
                value = values.get(source.name) if isinstance(source, OverParam) else None
                if isinstance(source, OverParam) and isinstance(value, dict):
                    found[source.name] = [str(key) for key in cast("dict[Any, Any]", value)]
                elif isinstance(source, OverParam) and isinstance(value, (list, tuple, range)):
                    found[source.name] = len(cast("list[Any]", value))
        return found

    def default_lengths(self) -> dict[str, int | list[str]]:
        """Those of the parameters' defaults."""
        return self.lengths_of({param.name: param.default for param in self.params if param.has_default})


def _bare(hooks: tuple[HookSpec, ...]) -> tuple[HookSpec, ...]:
    """Hooks by their names: where their code lies does not matter."""
    return tuple(HookSpec(on=hook.on, code=CodeRef(location="", name=hook.code.name)) for hook in hooks)


def map_keys(spec: OverLiteral) -> tuple[MapElement, ...]:
    """The elements' names of a literal map source: its keys, or the indexes."""
    return spec.keys if spec.keys is not None else tuple(range(spec.length))
