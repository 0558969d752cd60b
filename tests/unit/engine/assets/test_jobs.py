"""The graph of a run that makes a selection."""

import pytest

from plait.engine.assets import jobs
from plait.engine.assets.index import AssetIndex, merged, part
from plait.model.assets import AssetGraph, AssetKind, CheckSpec
from plait.model.errors import DefinitionError
from plait.model.graph import FromAsset, FromOutput, TaskSpec
from tests.unit.engine.assets.graphs import chain, graph, index, spec


def edges(made) -> set[tuple[str, str, str | None]]:
    return {(edge.upstream, edge.downstream, edge.output) for edge in made.edges}


def test_what_is_not_selected_is_read():
    made = jobs.plan(chain("a > b > c"), ["b", "c"], "job")
    inputs = {node.key: node.inputs for node in made.nodes}
    assert inputs == {"b": {"a": FromAsset(key="a")}, "c": {"b": FromOutput(task="b")}}
    assert edges(made) == {("b", "c", "result")}
    assert made.result == ("c", "result")


def test_external_assets_are_no_steps_and_unknown_ones_are_external():
    found = index(spec("clicks", kind=AssetKind.EXTERNAL), spec("visits", "clicks", "elsewhere"))
    assert found.specs["elsewhere"].kind is AssetKind.EXTERNAL
    assert [node.key for node in jobs.plan(found, found.keys, "job").nodes] == ["visits"]


def test_an_observation_comes_first_and_its_value_is_read_elsewhere():
    found = index(spec("prices", kind=AssetKind.OBSERVED), spec("offer", "prices"))
    made = jobs.plan(found, found.keys, "job")
    assert edges(made) == {("prices", "offer", None)}
    assert made.nodes[1].inputs == {"prices": FromAsset(key="prices")}
    assert made.result == ("offer", "result")


def several(**more) -> AssetIndex:
    own = [spec(key, "raw", step="load", output=key) for key in ("users", "orders")]
    return index(spec("raw"), *own, spec("report", "orders"), **more)


def test_some_of_several_outputs():
    made = jobs.plan(several(), ["orders", "report"], "job")
    (load, report) = made.nodes
    assert [output.asset for output in load.outputs] == ["orders"]
    assert load.metadata["assets"] == {"orders": {"deps": ["raw"], "code_version": None}}
    assert report.inputs == {"orders": FromOutput(task="load", output="orders")}


def test_what_is_made_together_is_selected_together():
    found = several(together=("load",))
    assert found.completed(["orders"]) == ["users", "orders"]
    assert [output.asset for output in jobs.plan(found, ["orders"], "job").nodes[0].outputs] == ["users", "orders"]


def test_what_may_be_left_out_is_waited_for_by_its_output():
    maybe = spec("maybe", step="load", output="maybe", optional=True)
    after = spec("after", "maybe")
    found = AssetIndex(
        AssetGraph(
            assets=(maybe, after),
            steps=(graph(maybe).steps[0], TaskSpec(key="after", runner="asset")),
        )
    )
    assert edges(jobs.plan(found, found.keys, "job")) == {("load", "after", "maybe")}


def test_a_blocking_check_stands_before_what_is_made_from_its_asset():
    checks = (
        CheckSpec(asset="a", name="rows", step=TaskSpec(key="a:rows", runner="check", inputs={"a": FromAsset(key="a")}),
                  blocking=True),
        CheckSpec(asset="a", name="nulls", step=TaskSpec(key="a:nulls", runner="check")),
    )  # fmt: skip
    found = index(spec("a"), spec("b", "a"), spec("c"), checks=checks)
    made = jobs.plan(found, ["a", "b", "c"], "job")
    assert edges(made) == {
        ("a", "b", "result"),
        ("a", "a:rows", "result"),
        ("a", "a:nulls", None),
        ("a:rows", "b", None),
    }
    assert [node.key for node in jobs.plan(found, ["b"], "job").nodes] == ["b"]


def test_a_circle_is_told_of_assets():
    found = AssetIndex(graph(spec("a", "b", place="f.py:1"), spec("b", "a", place="f.py:5")))
    with pytest.raises(DefinitionError, match="the assets wait for each other in a circle") as caught:
        jobs.plan(found, found.keys, "job")
    assert caught.value.where == "f.py:1"


def test_the_assets_of_several_files():
    one = graph(spec("a", place="one.py:1"), spec("b", "a", place="one.py:4"))
    two = graph(spec("c", "b", place="two.py:1"))
    both = merged([one, two, one])
    assert [each.key for each in both.assets] == ["a", "b", "c"]
    assert (part(both, "one.py", {}), part(both, "two.py", {})) == (one, two)
    with pytest.raises(DefinitionError, match=r"two assets have the key 'a'; the other is at one\.py:1"):
        merged([one, graph(spec("a", place="three.py:9"))])
