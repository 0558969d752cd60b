"""Prefect: replays, transactions, pauses.

Source: `semantics/prefect.md`, "Caching and results" (transactions), "Flows, params, subflows, hooks" (pause, suspend);
issue 2, point 8, and ARCHITECTURE.md, "Flows", for what plait promises beyond Prefect after a crash.
"""

from plait.model.events import ChildDiverged, TransactionClosed
from plait.model.graph import TaskSpec
from plait.model.outcome import Outcome, Verdict
from plait.model.wire import Execution
from plait.testing import Body, World
from tests.lowering.building import DAY, FAILS, HOUR, OK, flow, hook, retries

# --- crashes ----------------------------------------------------------------------------------------------------------


def thousand(body: Body):
    """A flow with 1,000 children, and one after them."""
    yield [body.submit("process", number) for number in range(1000)]
    yield body.submit("total")


def test_a_replay_after_a_crash_in_the_middle_of_a_thousand_children():
    """Issue 2, point 8. The children that were recorded as done come back without an execution; those that ran when the
    process died run again, as the same attempt; the rest follows."""
    world = World(room=201)
    run = world.start(flow(), {"flow": thousand, "process": None})
    for _ in range(2):
        for execution in [e for e in world.executor.live.values() if e.key == "process"]:
            world.executor.answer(execution)
    world.settle()
    done = [key for key, state in run.children.items() if state == "success"]
    assert len(done) == 400
    world.crash()
    before = len(run.executions("process"))
    assert before == 600
    run.script["process"] = OK
    run.resume()
    world.run_out()
    again = run.executions("process")[before:]
    assert len(again) == 600
    assert {execution.child for execution in again}.isdisjoint(done)
    assert {execution.attempt for execution in again} == {1}
    assert (len(run.children), run.state, run.events(ChildDiverged)) == (1001, "success", [])


def test_a_replayed_body_that_asks_for_something_else_is_told():
    """ARCHITECTURE.md, "Flows": a fingerprint that differs runs anew and is recorded as a divergence, never answered
    with a wrong value."""
    inputs = iter([1, 2])

    def body(body: Body):
        number = next(inputs)
        yield body.submit("extract", number)
        yield body.submit("slow")

    world = World()
    run = world.start(flow(), {"flow": body, "slow": None})
    world.crash()
    run.resume()
    assert [execution.child for execution in run.executions("extract")] == ["extract:(1,):0", "extract:(2,):0"]
    assert [event.child for event in run.events(ChildDiverged)] == ["extract:(2,):0"]


def test_a_result_that_could_not_be_stored_runs_again_after_a_crash():
    """ARCHITECTURE.md, "Flows": a result that cannot be stored is marked, and runs again on resume."""

    def body(body: Body):
        yield [body.submit("kept"), body.submit("lost")]
        yield body.submit("slow")

    world = World()
    run = world.start(flow(), {"flow": body, "lost": Outcome(unstored=True), "slow": None})
    world.crash()
    run.resume()
    assert [len(run.executions(key)) for key in ("kept", "lost", "slow")] == [1, 2, 2]


def test_failures_are_part_of_the_history_of_the_same_attempt():
    """A replay after a crash is the same attempt: a child that had failed for good has failed, and is not run again."""

    def body(body: Body):
        bad = body.submit("bad")
        yield bad
        yield body.submit("instead")
        yield body.submit("slow")

    world = World()
    run = world.start(flow(), {"flow": body, "bad": FAILS, "slow": None})
    world.crash()
    run.resume()
    assert [len(run.executions(key)) for key in ("bad", "instead", "slow")] == [1, 1, 2]


# --- transactions -----------------------------------------------------------------------------------------------------


def staged(name: str) -> TaskSpec:
    """A task with hooks for both ends of its transaction."""
    return TaskSpec(key=name, hooks=(hook("commit"), hook("rollback")))


def transactional(ok: bool):
    """A flow with a transaction of two tasks, and one task after it."""

    def body(body: Body):
        body.begin("orders")
        yield body.submit(staged("write"))
        yield body.submit(staged("notify"))
        body.end(ok=ok)
        yield body.submit("after")
        return OK if ok else FAILS

    return body


def test_a_transaction_rolled_back():
    """ "Transactions": on an exception the on_rollback hooks run in reverse; the tasks show as RolledBack."""
    run = World().start(flow(), {"flow": transactional(False)})
    assert run.hooks == ["notify:on_rollback:1", "write:on_rollback:1"]
    assert [run.task(key).rolled_back for key in ("write", "notify", "after")] == [True, True, False]
    assert [(event.ok, len(event.nos)) for event in run.events(TransactionClosed)] == [(False, 2)]
    assert run.state == "failed"


def test_a_transaction_committed():
    """ "Transactions": LAZY results are written when the outermost transaction exits; then on_commit hooks run."""
    run = World().start(flow(), {"flow": transactional(True)})
    assert sorted(run.hooks) == ["notify:on_commit:0", "write:on_commit:0"]
    assert run.state == "success"


def test_a_task_outside_of_a_transaction_commits_by_itself():
    """ "Transactions": a task run is a transaction of its own where there is none around it."""

    def body(body: Body):
        yield body.submit(staged("write"))

    assert World().start(flow(), {"flow": body}).hooks == ["write:on_commit:0"]


def test_what_was_rolled_back_runs_again_when_the_flow_is_retried():
    """A rolled-back task has no result to come back with, whatever the policy."""
    world = World()

    def body(body: Body):
        first = body.task.attempt == 1
        body.begin("orders")
        yield body.submit(staged("write"))
        body.end(ok=not first)
        return FAILS if first else OK

    run = world.start(flow(**retries(1, 1)), {"flow": body, "write": Outcome(persisted=True)})
    world.run_out()
    assert (len(run.executions("write")), run.state) == (2, "success")
    assert run.hooks == ["write:on_rollback:1", "write:on_commit:0"]


def test_a_crash_in_the_middle_of_a_transaction_runs_its_tasks_again():
    """What was staged when the process died was not committed: the replayed transaction does it again."""

    def body(body: Body):
        yield body.submit("before")
        body.begin("orders")
        yield body.submit(staged("write"))
        yield body.submit(staged("slow"))
        body.end(ok=True)

    world = World()
    run = world.start(flow(), {"flow": body, "slow": None})
    world.crash()
    run.script["slow"] = OK
    run.resume()
    assert [len(run.executions(key)) for key in ("before", "write", "slow")] == [1, 2, 2]
    assert (sorted(run.hooks), run.state) == (["slow:on_commit:0", "write:on_commit:0"], "success")


# --- pauses -----------------------------------------------------------------------------------------------------------


def asks(name: str) -> TaskSpec:
    """`pause_flow_run(wait_for_input=Model, key=name)`: a child that waits for a person."""
    return TaskSpec(key=name, runner="pause")


def person(execution: Execution) -> Outcome:
    """The worker of a pause: asks, and later validates what came."""
    if execution.resume is None:
        return Outcome(verdict=Verdict.PAUSE, schema={"type": "object"}, timeout=HOUR)
    return OK if execution.resume["input"].get("ok", True) else FAILS


def test_a_pause_for_input_blocks_its_body():
    """ "Pause": blocks in process; wait_for_input=Model stores a schema, resume validates."""

    def body(body: Body):
        approval = body.submit(asks("approve"))
        yield approval
        yield body.submit("load")

    world = World()
    run = world.start(flow(), {"flow": body, "approve": person})
    world.advance(HOUR / 2)
    assert (run.task("approve").state.value, run.states) == ("paused", {"flow": "dispatched"})
    run.give_input("approve", {"name": "Ada"})
    assert run.executions("approve")[1].resume == {"input": {"name": "Ada"}}
    assert (len(run.executions("flow")), run.state) == (1, "success")


def test_a_pause_times_out():
    """ "Pause": timeout 3600 s, then FlowPauseTimeout, which the body raises or catches."""

    def body(body: Body):
        approval = body.submit(asks("approve"))
        yield approval
        return FAILS if approval.state.value == "failed" else OK

    world = World()
    run = world.start(flow(), {"flow": body, "approve": person})
    world.run_out()
    assert (world.clock.now() - world.began, run.task("approve").state.value, run.state) == (HOUR, "failed", "failed")


def test_input_that_does_not_fit_fails_the_pause():
    """ "Pause": resume validates; the worker has the model."""

    def body(body: Body):
        yield body.submit(asks("approve"))

    run = World().start(flow(), {"flow": body, "approve": person})
    run.give_input("approve", {"ok": False})
    assert run.task("approve").state.value == "failed"


def suspends(body: Body):
    """A flow that is suspended twice: it leaves its process, and begins at the top when it goes on."""
    yield body.submit("extract")
    for name in ("approve", "sign"):
        approval = body.submit(asks(name))
        if not approval.terminal:
            return Outcome(verdict=Verdict.DEFER, trigger={"kind": "task", "no": approval.no})
    yield body.submit("load")
    return OK


def test_a_suspended_flow_leaves_its_process_and_replays_with_all_answers():
    """ "Suspend": the process exits; resume re-runs from the top with cached tasks. Each answer is the recorded result
    of its pause, so a second suspension finds the first one answered."""
    world = World()
    run = world.start(flow(), {"flow": suspends, "approve": person, "sign": person})
    assert (run.states, run.live, world.store.slots()) == ({"flow": "deferred"}, [], [])
    run.give_input("approve", {})
    assert (run.states, run.task("sign").state.value) == ({"flow": "deferred"}, "paused")
    run.give_input("sign", {})
    assert [len(run.executions(key)) for key in ("flow", "extract", "approve", "sign", "load")] == [3, 1, 2, 2, 1]
    assert (run.task("flow").attempt, run.state) == (1, "success")


def test_a_suspended_flow_survives_a_restart():
    """C6: days later, in another process, the answer comes; nobody has to know that the first one is gone."""
    world = World()
    patient = lambda e: Outcome(verdict=Verdict.PAUSE) if e.resume is None else OK  # noqa: E731  no time limit
    run = world.start(flow(), {"flow": suspends, "approve": patient, "sign": patient}, session=False)
    world.crash()
    world.advance(9 * DAY)
    run.resume()
    assert run.states == {"flow": "deferred"}
    run.give_input("approve", {})
    world.crash()
    run.resume()
    run.give_input("sign", {})
    assert (len(run.executions("extract")), run.state) == (1, "success")


def test_cancelling_a_suspended_flow():
    """A cancel ends the pause and the wait for it."""
    run = World().start(flow(), {"flow": suspends, "approve": person})
    run.cancel()
    assert (run.task("approve").state.value, run.states, run.state) == ("cancelled", {"flow": "cancelled"}, "cancelled")
