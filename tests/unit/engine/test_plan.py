"""What is refused before anything runs, and what a graph's hash is made of."""

import msgspec
import pytest

from plait.engine.plan import Plan
from plait.model.errors import DefinitionError
from plait.model.graph import (
    CodeRef,
    Edge,
    Graph,
    GroupSpec,
    HookSpec,
    MapSpec,
    OutputSpec,
    OverLiteral,
    OverOutput,
    TaskSpec,
    TriggerSpec,
)
from plait.model.policies import RunPolicy, TriggerRule
from tests.unit.engine.world import dag


def over(*keys: str) -> MapSpec:
    return MapSpec(sources=tuple(OverOutput(task=key) for key in keys))


def refused(graph: Graph) -> str:
    with pytest.raises(DefinitionError) as error:
        Plan(graph)
    return str(error.value)


def test_a_circle_names_its_members():
    said = refused(dag("start > b > c > d > b; d > end"))
    assert said.startswith("the tasks of 'test' wait for each other in a circle: b -> c -> d -> b\n")


def test_a_task_that_waits_for_itself_is_a_circle():
    assert "circle: a -> a" in refused(dag("a > a"))


def test_mapping_over_what_comes_later_is_a_circle():
    assert "circle: a -> b -> a" in refused(dag("a > b", {"a": {"mapping": over("b")}}))


def test_unknown_names_are_told():
    assert "an edge from 'a' names 'b', which is not a task of 'test'" in refused(
        Graph(name="test", nodes=(TaskSpec(key="a"),), edges=(Edge(upstream="a", downstream="b"),))
    )
    assert "an edge to 'a' names 'b'" in refused(
        Graph(name="test", nodes=(TaskSpec(key="a"),), edges=(Edge(upstream="b", downstream="a"),))
    )
    assert "task 'a' lies in the unknown group 'g'" in refused(dag("a", {"a": {"group": "g"}}))
    assert "task 'a' has no output 'x', which 'b' waits for" in refused(dag("a:x > b"))
    assert "the mapping of 'b' names 'nobody'" in refused(dag("b", {"b": {"mapping": over("nobody")}}))


def test_a_map_source_must_be_an_output():
    said = refused(dag("a, b", {"b": {"mapping": MapSpec(sources=(OverOutput(task="a", output="rows"),))}}))
    assert "task 'a' has no output 'rows', which 'b' is mapped over" in said


def test_nothing_is_mapped_over_itself():
    assert "'a' is mapped over the output of 'a', which lies in it" in refused(dag("a", {"a": {"mapping": over("a")}}))
    group = GroupSpec(key="g", mapping=over("a"))
    assert "'g' is mapped over the output of 'a'" in refused(dag("a", {"a": {"group": "g"}}, groups=[group]))


def test_keys_are_unique():
    said = refused(Graph(name="test", nodes=(TaskSpec(key="a"), TaskSpec(key="a"))))
    assert "two tasks of 'test' have the key 'a'" in said
    assert "two groups of 'test' have the same key" in refused(dag(groups=[GroupSpec(key="g"), GroupSpec(key="g")]))
    mapped = MapSpec(sources=(OverLiteral(length=2),))
    graph = dag("a", {"a": {"mapping": mapped}, "b": {"group": "a"}}, groups=[GroupSpec(key="a", mapping=mapped)])
    assert "a mapped task and a mapped group of 'test' have the key 'a'" in refused(graph)


def test_a_group_does_not_lie_in_itself():
    groups = [GroupSpec(key="g", parent="h"), GroupSpec(key="h", parent="g")]
    assert "the group 'g' lies in itself" in refused(dag("a", {"a": {"group": "g"}}, groups=groups))


def test_order_respects_edges_and_map_sources():
    plan = Plan(dag("c > d; b > c", {"a": {"mapping": over("d")}}))
    order = [node.key for node in plan.order]
    assert order.index("b") < order.index("c") < order.index("d") < order.index("a")


def test_leaves_are_what_nothing_but_teardowns_follows():
    teardown = {"teardown": True, "counts": False}
    plan = Plan(dag("a > b > t; a > t", {"t": teardown}))
    assert [node.key for node in plan.leaves] == ["b"]
    plan = Plan(dag("a > b > t", {"t": {"teardown": True, "counts": True}}))
    assert [node.key for node in plan.leaves] == ["t"]
    plan = Plan(dag("a", {"b": {"mapping": over("a")}}))
    assert [node.key for node in plan.leaves] == ["b"], "what is mapped over is no leaf"


# --- the hash ---------------------------------------------------------------------------------------------------------

BASE = dag(
    "a > b",
    {
        "a": {
            "doc": "old",
            "code": CodeRef(location="/one/flow.py", name="a", line=3),
            "hooks": (HookSpec(on="retry", code=CodeRef(location="/one/flow.py", name="tell", line=9)),),
        },
        "b": {"title": "B", "group": "g"},
    },
    groups=[GroupSpec(key="g", title="Group")],
    triggers=(TriggerSpec(kind="cron", spec={"cron": "* * * * *"}),),
    doc="old",
    hooks=(HookSpec(on="failed", code=CodeRef(location="/one/flow.py", name="tell", line=9)),),
)


def replaced(graph: Graph, key: str, **changes: object) -> Graph:
    nodes = tuple(msgspec.structs.replace(n, **changes) if n.key == key else n for n in graph.nodes)
    return msgspec.structs.replace(graph, nodes=nodes)


SAME = {
    "equal": msgspec.msgpack.decode(msgspec.msgpack.encode(BASE), type=Graph),
    "doc": msgspec.structs.replace(BASE, doc="new", triggers=(), tags=("x",), metadata={"owner": "me"}),
    "node's doc": replaced(BASE, "a", doc="new", title="A"),
    "moved": replaced(BASE, "a", code=CodeRef(location="/two/flow.py", name="a", line=7)),
    "moved hook": msgspec.structs.replace(
        BASE, hooks=(HookSpec(on="failed", code=CodeRef(location="/two/flow.py", name="tell", line=1)),)
    ),
    "moved hook of a task": replaced(
        BASE, "a", hooks=(HookSpec(on="retry", code=CodeRef(location="/two/flow.py", name="tell", line=1)),)
    ),
    "group's title": msgspec.structs.replace(BASE, groups=(GroupSpec(key="g", title="Another"),)),
}

OTHER = {
    "node": msgspec.structs.replace(BASE, nodes=(*BASE.nodes, TaskSpec(key="c"))),
    "edge": msgspec.structs.replace(BASE, edges=()),
    "guard": msgspec.structs.replace(BASE, edges=(Edge(upstream="a", downstream="b", guard=True),)),
    "rule": replaced(BASE, "b", trigger_rule=TriggerRule.ALL_DONE),
    "outputs": replaced(BASE, "a", outputs=(OutputSpec(required=False),)),
    "mapping": replaced(BASE, "b", mapping=over("a")),
    "policy": msgspec.structs.replace(BASE, policy=RunPolicy(max_active_tasks=2)),
    "name": msgspec.structs.replace(BASE, name="another"),
    "another hook": msgspec.structs.replace(
        BASE, hooks=(HookSpec(on="failed", code=CodeRef(location="/one/flow.py", name="shout", line=9)),)
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_the_hash_does_not_see(name: str):
    assert SAME[name].hash() == BASE.hash()


@pytest.mark.parametrize("name", OTHER)
def test_the_hash_sees(name: str):
    assert OTHER[name].hash() != BASE.hash()


def test_the_hash_is_stable_across_processes():
    assert dag("a > b").hash() == "854ca5f3afc55856b72efae4dea36850"
