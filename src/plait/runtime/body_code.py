"""What is the same for every body of a flow, wherever it runs: from its execution to the function with its arguments,
and from what it came to to its outcome."""

import contextlib
from collections.abc import Callable, Generator
from typing import Any

import msgspec

from plait.authoring.context import in_context
from plait.authoring.flow import Flow
from plait.authoring.params import bound_params
from plait.authoring.scope import in_scope
from plait.model.errors import EngineError
from plait.model.outcome import Outcome
from plait.model.wire import Execution
from plait.ports import ResultStore
from plait.runtime.body_transactions import in_transaction
from plait.runtime.calls import Calls
from plait.runtime.ends import Ends
from plait.runtime.run_params import logical_text
from plait.runtime.scheduler import Scheduler
from plait.worker.arguments import complete_params, with_defaults
from plait.worker.code import LoadedCode
from plait.worker.failures import failure
from plait.worker.harness import Harness


class Body(msgspec.Struct):
    """A flow's function with its arguments, and where what it submits runs."""

    fn: Callable[..., Any]
    arguments: dict[str, Any]
    executor: str


class BodyCode:
    """Finds bodies, and makes the outcomes of what they came to; the live value or exception is kept as well."""

    def __init__(
        self, scheduler: Scheduler, harness: Harness, code: LoadedCode, results: ResultStore, calls: Calls, ends: Ends
    ):
        self._scheduler = scheduler
        self._harness = harness
        self._code = code
        self._results = results
        self._calls = calls
        self._ends = ends

    def find(self, execution: Execution) -> Body:
        """The body that is to run. Raises what is wrong with its parameters."""
        if execution.child is not None:
            return self._body_of_child(execution)
        live = self._code.live(execution.run)
        assert live.fn is not None  # every flow has its function
        executor = live.graph.metadata.get("executor", "threads")
        return Body(live.fn, self._harness.params_of(live, execution.run), executor)

    def _body_of_child(self, execution: Execution) -> Body:
        """A flow that was called in another one: its parameters are checked and filled as those of a run."""
        found = self._calls.call_of(execution)
        if found is None:
            raise EngineError(f"the call of {execution.key!r} is not known in this process")
        flow, args, kwargs = found
        assert isinstance(flow, Flow)  # the runner of a flow's spec, and of no other, is `flow`
        info = execution.run
        given = bound_params(flow.fn, flow.name, tuple(args), kwargs)
        date = info.logical_date or logical_text(flow.graph, given, info.started_at)
        values = complete_params(flow.graph, flow.fn, given, date, info.partition)
        return Body(flow.fn, with_defaults(flow.fn, values), flow.executor)

    @contextlib.contextmanager
    def entered(self, execution: Execution, body: Body, host: Any) -> Generator[None]:
        """In here, calls belong to `host`, and the body can ask about its run. A transaction that was open where a flow
        was called ends with it."""
        context = self._harness.context_of(execution)
        context.params = body.arguments
        called_in = self._scheduler.hosted(execution.run.run_id).run.tasks[execution.no].staged
        with in_scope(host), in_context(context), in_transaction(called_in):
            yield

    def succeeded(self, execution: Execution, value: Any) -> Outcome:
        """The outcome of a body that returned."""
        self._came_to(execution, value)
        try:
            name = f"{execution.run.run_id}/{execution.no}/{execution.token}/result"
            return Outcome(outputs={"result": self._results.put(value, name)})
        except TypeError:
            return Outcome(unstored=True)

    def failed(self, execution: Execution, error: BaseException) -> Outcome:
        """The outcome of one that raised."""
        self._came_to(execution, None, error)
        return failure(error, None, execution.attempt)

    def _came_to(self, execution: Execution, value: Any, error: BaseException | None = None) -> None:
        if execution.child is not None:
            self._calls.came_to(execution, value, error)
        else:
            self._ends.keep(execution.run.run_id, execution.no, execution.token, value, error)
