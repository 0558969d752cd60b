"""Random valid graphs: few nodes, and every construct of the model that the engine decides on.

Nodes are drawn in an order that respects the edges; a group, too, comes after what it is mapped over. Each graph draws
first which constructs it has at all, so that some have one and some have many.
"""

from typing import Any

import msgspec
from hypothesis import strategies as st

from plait.model.graph import (
    CodeRef,
    Edge,
    Graph,
    GroupSpec,
    HookSpec,
    MapSource,
    MapSpec,
    OutputSpec,
    OverLiteral,
    OverOutput,
    OverParam,
    TaskSpec,
    WatchSpec,
)
from plait.model.policies import Jitter, LimitUse, OutcomeRule, RetryPolicy, RunPolicy, TriggerRule

NAME = "random"
SIZES = {"pool:small": 1, "pool:large": 3}
"""The limits that are declared. `tag:free` is none, `pool:nobody` is refused, as is who asks for more than there is."""

CODE = CodeRef(location="hooks.py", name="tell")
MOST_DEPTH = 2
THEMES = (
    ("rules", "outputs"),
    ("mapping", "groups"),
    ("mapping", "groups", "rules"),
    ("mapping", "groups", "scopes"),
    ("mapping", "outputs"),
    ("mapping", "bounds"),
    ("scopes", "rules"),
    ("limits", "bounds"),
    ("watches", "soft"),
    ("retry", "soft"),
    ("hooks",),
    ("kinds",),
    ("flows",),
    ("policy",),
)
"""What a graph may have; it has one or some of these."""

seldom = st.sampled_from([False, False, False, True])
often = st.sampled_from([False, True, True])

# --- parts ------------------------------------------------------------------------------------------------------------

retries = st.builds(
    RetryPolicy,
    limit=st.integers(1, 3),
    delays=st.sampled_from([(0.0,), (5.0,), (1.0, 20.0)]),
    factor=st.sampled_from([1.0, 2.0]),
    cap=st.sampled_from([None, 8.0]),
    jitter=st.sampled_from(list(Jitter)),
    on_crash=st.booleans(),
)
uses = st.lists(
    st.sampled_from(
        [
            LimitUse(key="pool:small"),
            LimitUse(key="pool:large"),
            LimitUse(key="pool:large", slots=2),
            LimitUse(key="task:declared", size=2),
            LimitUse(key="tag:free"),
            LimitUse(key="pool:small", slots=2),
            LimitUse(key="pool:nobody"),
        ]
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda use: use.key,
).map(tuple)
watches = st.lists(
    st.sampled_from([WatchSpec(subject="run", workflow="other"), WatchSpec(subject="asset", key="table")]),
    min_size=1,
    max_size=2,
).map(tuple)
TASK_HOOKS = ("success", "failed", "retry", "skipped", "cancelled", "crashed", "commit", "rollback")
RUN_HOOKS = ("success", "failed", "cancelled")


def hooks(of: tuple[str, ...]) -> st.SearchStrategy[tuple[HookSpec, ...]]:
    """Hooks for some states, also two for one."""
    return st.lists(st.sampled_from(of), min_size=1, max_size=3).map(
        lambda states: tuple(HookSpec(on=state, code=CODE) for state in states)
    )


policies = st.builds(
    RunPolicy,
    max_active_runs=st.sampled_from([None, None, 1]),
    max_active_tasks=st.sampled_from([None, None, 1, 2]),
    timeout=st.sampled_from([None, None, 50.0]),
    fail_fast=seldom,
    reruns=st.sampled_from([0, 0, 1, 2]),
    rerun_whole=st.booleans(),
)
OUTPUTS = (
    (OutputSpec(), OutputSpec(name="maybe", required=False)),
    (OutputSpec(required=False), OutputSpec(name="many", dynamic=True)),
)


class _Drawing:
    """A graph that is being drawn."""

    def __init__(self, draw: st.DrawFn):
        self.draw = draw
        themes = draw(st.lists(st.sampled_from(THEMES), min_size=1, max_size=4, unique=True))
        self.features = {feature for theme in themes for feature in theme}
        self.nodes: list[TaskSpec] = []
        self.edges: list[Edge] = []
        self.groups: dict[str, GroupSpec] = {}
        self.depths: dict[str | None, int] = {None: 0}

    def has(self, feature: str, chance: st.SearchStrategy[bool] = often) -> bool:
        """Whether this graph has a feature, and this place of it too."""
        return feature in self.features and self.draw(chance)

    # groups and mappings

    def group(self) -> str | None:
        """A group that is there, or a new one, or none."""
        if "groups" not in self.features:
            return None
        choice = self.draw(st.sampled_from(["none", "new", *self.groups]))
        if choice == "none":
            return None
        return self.new_group() if choice == "new" else choice

    def new_group(self) -> str:
        parent = self.draw(st.sampled_from([None, *self.groups]))
        mapping = self.mapping() if self.depths[parent] < MOST_DEPTH and self.has("mapping") else None
        key = f"g{len(self.groups)}"
        self.groups[key] = GroupSpec(key=key, parent=parent, mapping=mapping)
        self.depths[key] = self.depths[parent] + (mapping is not None)
        return key

    def mapping(self) -> MapSpec:
        sources: list[st.SearchStrategy[MapSource]] = [
            st.builds(OverLiteral, length=st.integers(0, 2)),
            st.just(OverLiteral(keys=("eu", "us"))),
            st.sampled_from(["list", "dict", "nothing"]).map(lambda name: OverParam(name=name)),
        ]
        outputs = [OverOutput(task=node.key, output=output.name) for node in self.nodes for output in node.outputs]
        if outputs:
            sources.append(st.sampled_from(outputs))
            sources.append(st.sampled_from(outputs))
        drawn = self.draw(st.lists(st.one_of(sources), min_size=1, max_size=2))
        return MapSpec(
            sources=tuple(drawn),
            how=self.draw(st.sampled_from(["product", "zip"])),
            limit=self.draw(st.sampled_from([None, None, 3])),
            concurrency=self.draw(st.sampled_from([None, None, 1, 2])),
            empty=self.draw(st.sampled_from(["skip", "remove"])),
        )

    # nodes

    def node(self, index: int) -> None:
        draw = self.draw
        spec: dict[str, Any] = {"key": f"t{index}", "runner": self.runner(), "group": self.group()}
        if self.depths[spec["group"]] < MOST_DEPTH and self.has("mapping"):
            spec["mapping"] = self.mapping()
        if self.has("rules"):
            spec["trigger_rule"] = draw(st.sampled_from(list(TriggerRule)))
        if self.has("outputs"):
            spec["outputs"] = draw(st.sampled_from(OUTPUTS))
        if self.has("bounds"):
            spec |= {
                "max_active": draw(st.sampled_from([None, 1, 2])),
                "priority": draw(st.integers(-1, 1)),
                "executor": draw(st.sampled_from([None, "other"])),
            }
        if self.has("watches", seldom):
            spec |= {
                "watches": draw(watches),
                "depends_on_past": draw(st.booleans()),
                "wait_timeout": draw(st.sampled_from([None, 10.0])),
            }
        if self.has("soft"):
            spec |= {"soft_fail": draw(st.booleans()), "wait_timeout": draw(st.sampled_from([None, 10.0]))}
        if self.has("scopes"):
            kind = draw(st.sampled_from(["setup", "work", "teardown"]))
            if kind == "setup":
                spec["setup"] = True
            elif kind == "teardown":
                spec |= {
                    "teardown": True,
                    "counts": draw(seldom),
                    "trigger_rule": TriggerRule.ALL_DONE_SETUP_SUCCESS,
                }
        spec |= self.policies()
        task = TaskSpec(**spec)
        self.connect(task)
        self.nodes.append(task)

    def runner(self) -> str:
        if self.has("flows"):
            return "flow"
        return self.draw(st.sampled_from(["python", "noop", "pause", "run"])) if self.has("kinds") else "python"

    def policies(self) -> dict[str, Any]:
        spec: dict[str, Any] = {}
        if self.has("retry"):
            spec["retry"] = self.draw(retries)
        if self.has("limits"):
            spec["limits"] = self.draw(uses)
        if self.has("hooks"):
            spec["hooks"] = self.draw(hooks(TASK_HOOKS))
        return spec

    def connect(self, task: TaskSpec) -> None:
        ups = self.draw(st.lists(st.sampled_from(self.nodes), max_size=3, unique_by=_key)) if self.nodes else []
        for up in ups:
            names = [None, *(output.name for output in up.outputs)] if "outputs" in self.features else [None]
            guard = up.setup and self.draw(often)
            output = None if guard else self.draw(st.sampled_from(names))
            self.edges.append(Edge(upstream=up.key, downstream=task.key, output=output, guard=guard))

    def graph(self) -> Graph:
        return Graph(
            name=NAME,
            nodes=tuple(self.nodes),
            edges=tuple(self.edges),
            groups=tuple(self.groups.values()),
            outcome=self.draw(st.sampled_from(list(OutcomeRule))),
            policy=self.draw(policies) if "policy" in self.features else RunPolicy(),
            hooks=self.draw(hooks(RUN_HOOKS)) if self.has("hooks") else (),
        )


def _key(spec: TaskSpec) -> str:
    return spec.key


@st.composite
def dags(draw: st.DrawFn) -> Graph:
    """A graph that is known before it runs."""
    drawing = _Drawing(draw)
    for index in range(draw(st.sampled_from([1, 2, 3, 4, 4, 5, 6, 7]))):
        drawing.node(index)
    return drawing.graph()


@st.composite
def flows(draw: st.DrawFn) -> Graph:
    """A graph of one node, whose body adds children."""
    drawing = _Drawing(draw)
    drawing.nodes.append(TaskSpec(key="t0", runner="flow", **drawing.policies()))
    return drawing.graph()


lengths = st.fixed_dictionaries({"list": st.integers(0, 3), "dict": st.sampled_from([["a"], ["a", "b"], []])})
"""What the parameters that may be mapped over are; `nothing` is no list."""


@st.composite
def callees(draw: st.DrawFn) -> tuple[TaskSpec, ...]:
    """What the bodies of a run call: tasks of all kinds, and a flow."""
    drawing = _Drawing(draw)
    kinds = ["python", "flow", draw(st.sampled_from(["python", "pause", "run", "noop"]))]
    return tuple(
        TaskSpec(key=f"c{number}", runner=kind, **drawing.policies(), executor=draw(st.sampled_from([None, "other"])))
        for number, kind in enumerate(kinds)
    )


class Case(msgspec.Struct, frozen=True):
    """A graph with what its bodies call, and the lengths of its parameters. Its repr makes it again."""

    graph: Graph
    callees: tuple[TaskSpec, ...]
    lengths: dict[str, int | list[str]]

    def __repr__(self) -> str:
        return f"case({msgspec.json.encode(self)!r})"


def case(text: bytes) -> Case:
    """What a failure printed."""
    return msgspec.json.decode(text, type=Case)


cases = st.builds(Case, graph=st.one_of(dags(), dags(), dags(), flows()), callees=callees(), lengths=lengths)
