"""Dagster: outputs, skips, fan-in, dynamic outputs.

Sources: `semantics/dagster.md`, "Skips" and "Dynamic"; dagster 1.13.27 `_core/execution/plan/active.py`
(`_should_skip_step`, `_resolve_any_dynamic_outputs`) and `plan/inputs.py` (`FromDynamicCollect.resolve`).
"""

import msgspec
import pytest

from plait.model.graph import (
    RESULT,
    Edge,
    FromOutput,
    GroupSpec,
    ListOf,
    MapSpec,
    OutputSpec,
    OverOutput,
)
from plait.model.outcome import Outcome, Stored
from plait.testing import World
from tests.lowering.building import FAILS, OK, emits, job, many, rule


def optional(*names: str) -> dict[str, tuple[OutputSpec, ...]]:
    """`Out(is_required=False)`."""
    return {"outputs": tuple(OutputSpec(name=name, required=False) for name in names)}


def test_an_optional_output_that_is_not_emitted_skips_its_dependents():
    """ "Skips": un-emitted optional output => dependent step STEP_SKIPPED, transitively; the run succeeds."""
    made = job("split:left > use_left > report_left; split:right > use_right", {"split": optional("left", "right")})
    run = World().start(made, {"split": emits("right")})
    assert run.states == {
        "split": "success", "use_left": "skipped", "report_left": "skipped", "use_right": "success"
    }  # fmt: skip
    assert run.state == "success"


def test_a_required_output_that_is_not_emitted_fails_its_step():
    """Dagster raises for a non-optional output that was not returned; the retry policy applies to it as to any
    exception."""
    outputs = (OutputSpec(name="rows"), OutputSpec(name="notes", required=False))
    run = World().start(job("extract:rows > load", {"extract": {"outputs": outputs}}), {"extract": emits("notes")})
    assert run.states == {"extract": "failed", "load": "upstream_failed"}
    assert run.task("extract").error.type == "OutputMissing"


def test_a_failure_abandons_what_is_below_it_and_fails_the_run_at_its_end():
    """ "Skips": failure => downstream abandoned with no event, run fails after independent steps finish. The word for
    abandoned is upstream_failed."""
    made = job("bad > below > further; slow > last")
    run = World().start(made, {"bad": FAILS, "slow": None})
    assert (run.states["below"], run.states["further"], run.state) == ("upstream_failed", "upstream_failed", "running")
    run.answer("slow")
    assert (run.states["last"], run.state) == ("success", "failed")


def test_a_failure_that_something_below_survives_fails_the_run_all_the_same():
    """A Dagster run fails with any step, unlike an Airflow run."""
    made = job("bad > cleanup", {"cleanup": rule("all_done")})
    assert World().start(made, {"bad": FAILS}).state == "failed"


# --- fan-in -----------------------------------------------------------------------------------------------------------

FAN_IN = {
    "one": optional(RESULT),
    "two": optional(RESULT),
    "merge": {
        **rule("any_input"),
        "inputs": {"parts": ListOf(items=(FromOutput(task="one"), FromOutput(task="two")))},
    },
}


@pytest.mark.parametrize(
    ("script", "state"),
    [
        ({}, "success"),
        ({"one": emits()}, "success"),
        ({"one": emits(), "two": emits()}, "skipped"),
        ({"one": FAILS}, "upstream_failed"),
    ],
    ids=["all there", "one missing", "all missing", "one failed"],
)
def test_a_fan_in_runs_with_what_exists(script, state):
    """ "Skips": a fan-in list runs with what exists and skips only if all are missing; a failure abandons it."""
    one = Stored(format="json", data=b"1")
    full = {"one": Outcome(emitted=(RESULT,), outputs={RESULT: one}), "two": emits(RESULT, outputs={RESULT: one})}
    run = World().start(job("one:result, two:result > merge > after", FAN_IN), {**full, **script})
    assert (run.states["merge"], run.states["after"]) == (state, state)
    if state == "success":
        upstream = run.executions("merge")[0].upstream
        assert (upstream["one/result"].one is None, upstream["two/result"].one) == (bool(script), one)


@pytest.mark.parametrize(("single", "state"), [(emits(RESULT), "success"), (emits(), "skipped")])
def test_a_fan_in_beside_a_single_input(single, state):
    """active.py `_should_skip_step`: a step is skipped if all sources of any one input are missing. A single input of a
    step with a fan-in is a guard: it must be there whatever the rule."""
    made = job(
        "one:result, two:result > merge; config", {**FAN_IN, "config": optional(RESULT)},
        edges=(Edge(upstream="config", downstream="merge", output=RESULT, guard=True),),
    )  # fmt: skip
    run = World().start(made, {"one": emits(), "two": emits(RESULT), "config": single})
    assert run.states["merge"] == state


@pytest.mark.parametrize(("missing", "state"), [(("a", "c"), "success"), (("a", "b"), "skipped")])
def test_two_fan_ins_of_one_step(missing, state):
    """The same with two lists: each is a node of its own (done at once, any_input), and the step needs both."""
    options = {key: optional(RESULT) for key in "abcd"}
    join = {"runner": "noop", **rule("any_input")}
    made = job(
        "a:result, b:result > merge__left; c:result, d:result > merge__right; merge__left, merge__right > merge",
        {**options, "merge__left": join, "merge__right": join},
    )
    script = {key: emits() if key in missing else emits(RESULT) for key in "abcd"}
    assert World().start(made, script).states["merge"] == state


def test_a_nothing_input_only_orders():
    """In(Nothing): the step waits, and loads no value. A skipped one skips as any other."""
    run = World().start(job("a > b"), {"a": None})
    assert run.states["b"] == "pending"
    run.answer("a")
    assert (run.executions("b")[0].upstream, run.state) == ({}, "success")


# --- dynamic outputs --------------------------------------------------------------------------------------------------

DYNAMIC = OutputSpec(name="files", dynamic=True, measured=True)


def fan_out(empty: str = "remove", **more: dict[str, object]):
    """`files().map(load).map(clean)`, `.collect()`: one scope, whose elements are the mapping keys."""
    scope = GroupSpec(key="files[]", mapping=MapSpec(sources=(OverOutput(task="files", output="files"),), empty=empty))
    options = {
        "files": {"outputs": (DYNAMIC,)},
        "load": {"group": "files[]", **optional(RESULT)},
        "clean": {"group": "files[]"},
        "collect": {**rule("any_input"), "inputs": {"all": FromOutput(task="clean", keyed=True)}},
    }
    merged = {key: {**options[key], **more.get(key, {})} for key in options}
    return job("files:files > load:result > clean > collect", merged, groups=(scope,))


def test_dynamic_outputs_by_key_and_their_collection():
    """ "Dynamic": step keys are op[key], mapped results a dict by key, collect() a list."""
    value = Stored(format="json", data=b"1")
    script = {"files": many(["eu", "us"], "files"), "load": emits(RESULT), "clean": Outcome(outputs={RESULT: value})}
    run = World().start(fan_out(), script)
    assert run.states == {
        "files": "success", "load[eu]": "success", "clean[eu]": "success",
        "load[us]": "success", "clean[us]": "success", "collect": "success",
    }  # fmt: skip
    collected = run.executions("collect")[0].upstream["clean/result"]
    assert (collected.keys, collected.many) == (("eu", "us"), (value, value))


def test_mapped_steps_go_on_key_by_key():
    """A mapped step waits for the step of its own key only."""
    run = World().start(fan_out(), {"files": many(["eu", "us"], "files"), "load": None})
    run.answer("load", emits(RESULT), path=("us",))
    assert (run.states["clean[us]"], run.states["load[eu]"], run.states["collect"]) == (
        "success", "dispatched", "pending"
    )  # fmt: skip


def test_a_collection_runs_with_the_keys_that_were_not_skipped():
    """active.py: collect() is a fan-in, so it skips only if all of its keys are missing."""
    files = many(["eu", "us"], "files")
    some = lambda e: emits() if e.path == ("eu",) else emits(RESULT)  # noqa: E731  one of the keys emits nothing
    assert World().start(fan_out(), {"files": files, "load": some}).states["collect"] == "success"
    assert World().start(fan_out(), {"files": files, "load": emits()}).states["collect"] == "skipped"


def test_a_failed_key_abandons_the_collection_and_not_its_siblings():
    """active.py: collect() depends on all keys; the other keys finish."""
    fails = lambda e: FAILS if e.path == ("eu",) else emits(RESULT)  # noqa: E731  one of the keys fails
    run = World().start(fan_out(), {"files": many(["eu", "us"], "files"), "load": fails})
    assert (run.states["clean[us]"], run.states["collect"], run.state) == ("success", "upstream_failed", "failed")


@pytest.mark.parametrize(("empty", "state"), [("remove", "success"), ("skip", "skipped")])
def test_no_dynamic_outputs_at_all(empty, state):
    """active.py `_resolve_any_dynamic_outputs`: a required dynamic output without elements collects an empty list; an
    optional one skips. Its mapped steps do not exist (plait: removed)."""
    run = World().start(fan_out(empty), {"files": many([], "files")})
    assert (run.states["collect"], run.state) == (state, "success")
    assert {run.states["load"], run.states["clean"]} == {"removed" if empty == "remove" else "skipped"}


def test_a_skipped_step_skips_what_is_mapped_over_it():
    """inputs.py `FromDynamicCollect.resolve`: None, not an empty list, cascades the skip."""
    made = fan_out()
    above = job("config:result > files", {"config": optional(RESULT)})
    whole = msgspec.structs.replace(made, nodes=(above.nodes[0], *made.nodes), edges=(*above.edges, *made.edges))
    run = World().start(whole, {"config": emits()})
    assert set(run.states.values()) == {"success", "skipped"}
    assert run.states["collect"] == "skipped"


def test_two_dynamic_elements_with_one_key_fail_the_mapping():
    """Dagster refuses a mapping key that was used before."""
    run = World().start(fan_out(), {"files": many(["eu", "eu"], "files")})
    assert (run.states["load"], run.state) == ("failed", "failed")


def test_only_so_many_mapped_steps_at_once():
    """`tag_concurrency_limits` of an executor, or a pool on the op: so many instances of one step."""
    scope = GroupSpec(
        key="files[]", mapping=MapSpec(sources=(OverOutput(task="files", output="files"),), concurrency=1)
    )
    made = job("files:files > load", {"files": {"outputs": (DYNAMIC,)}, "load": {"group": "files[]"}}, groups=(scope,))
    run = World().start(made, {"files": many(["eu", "us"], "files"), "load": None})
    assert run.live == ["load[eu]"]
    run.answer("load", OK, path=("eu",))
    assert run.live == ["load[us]"]
