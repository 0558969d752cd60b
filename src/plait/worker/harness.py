"""The attempt runner: one execution from its bindings to its outcome. The same in every executor.

What the user's code raises is an outcome, never an exception of the runner. Whatever needs the value or the exception
is decided here, where it lives: the retry condition and delay, branches, lengths of what is mapped over, caching, what
is emitted.
"""

import asyncio
import pickle
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from plait.authoring.context import Context, in_context
from plait.authoring.live import LiveGraph
from plait.authoring.retry import seconds
from plait.authoring.scope import in_scope
from plait.authoring.signals import Fail, LookAgain, RetryAfter, Skip, TaskCancelled
from plait.authoring.task import Task
from plait.authoring.where import frames_of_user
from plait.model.errors import TaskFailed, UsageError
from plait.model.outcome import AssetEvent, CheckResult, ErrorInfo, Outcome, RetryVerdict, Stored, Verdict
from plait.model.graph import TaskSpec
from plait.model.wire import Execution, RunInfo
from plait.ports import ResultStore
from plait.worker.arguments import Arguments, graph_spec, run_params, unpickle_call, utc_of, with_defaults
from plait.worker.caching import key_of, look_up, remember

MOST_PICKLED_ERROR = 64 << 10
KEPT_RUNS = 64


class Code(Protocol):
    """Finds the live objects behind a run's graph."""

    def live(self, info: RunInfo) -> LiveGraph:
        """The graph of a run with its functions. Raises LoadError when the code is not there any more."""
        ...


class Call:
    """What there is to call: the function, its arguments, and the task that holds its policies."""

    __slots__ = ("fn", "named", "positional", "spec", "task")

    def __init__(
        self,
        fn: Callable[..., Any],
        positional: list[Any],
        named: dict[str, Any],
        task: Task[Any, Any] | None,
        spec: TaskSpec | None,
    ):
        self.fn = fn
        self.positional = positional
        self.named = named
        self.task = task
        self.spec = spec


class Harness:
    """Runs executions; implements the port `Runner`. `keep` takes the live value of a success (for flows in this
    process)."""

    def __init__(
        self,
        code: Code,
        results: ResultStore,
        *,
        keep: Callable[[Execution, Any], None] | None = None,
        local_call: Callable[[Execution], tuple[Task[Any, Any], list[Any], dict[str, Any]] | None] | None = None,
        body: Callable[[Execution], Outcome] | None = None,
    ):
        self._code = code
        self._results = results
        self._arguments = Arguments(results)
        self._keep = keep
        self._local_call = local_call
        self._body = body
        self._params: dict[str, dict[str, Any]] = {}

    def run(self, execution: Execution) -> Outcome:
        """Run one execution."""
        if execution.runner == "flow" and self._body is not None:
            return self._body(execution)
        started = time.time()
        context = self.context_of(execution)
        call: Call | None = None
        try:
            call = self._prepare(execution, context)
            with in_scope(None), in_context(context):
                key = key_of(call.task, call.named, execution.run.run_id)
                cached = self._from_cache(execution, call, key)
                if cached is not None:
                    return msgspec.structs.replace(cached, started_at=started, finished_at=time.time())
                value = call.fn(*call.positional, **call.named)
                if asyncio.iscoroutine(value):
                    value = asyncio.run(value)
            outcome = self.success(execution, call, value, context, key)
        except BaseException as error:  # the user's code may raise anything; it becomes an outcome
            outcome = failure(error, call.task if call is not None else None, execution.attempt)
        return msgspec.structs.replace(outcome, started_at=started, finished_at=time.time())

    async def run_async(self, execution: Execution) -> Outcome:
        """Run one execution of an async task on the caller's event loop."""
        started = time.time()
        context = self.context_of(execution)
        call: Call | None = None
        try:
            call = self._prepare(execution, context)
            with in_scope(None), in_context(context):
                key = key_of(call.task, call.named, execution.run.run_id)
                cached = self._from_cache(execution, call, key)
                if cached is not None:
                    return msgspec.structs.replace(cached, started_at=started, finished_at=time.time())
                value = await call.fn(*call.positional, **call.named)
            outcome = self.success(execution, call, value, context, key)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # likewise
            outcome = failure(error, call.task if call is not None else None, execution.attempt)
        return msgspec.structs.replace(outcome, started_at=started, finished_at=time.time())

    # --- before the call ----------------------------------------------------------------------------------------------

    def context_of(self, execution: Execution) -> Context:
        """What the user's code can ask about its run."""
        info = execution.run
        return Context(
            run_id=info.run_id,
            workflow=info.workflow,
            task=execution.key,
            map_path=execution.path,
            attempt=execution.attempt,
            max_attempts=execution.max_attempts,
            logical_date=utc_of(info.logical_date),
            partition=info.partition,
            tags=info.tags,
            resume=execution.resume,
        )

    def _prepare(self, execution: Execution, context: Context) -> Call:
        if execution.runner == "hook":
            return self._hook(execution, context)
        if execution.child is not None:
            return self._child(execution)
        graph = self._code.live(execution.run)
        context.params = self.params_of(graph, execution.run)
        node = graph.nodes.get(execution.key)
        if node is None:
            raise UsageError(
                f"task {execution.key!r} is not in the code of {execution.run.workflow!r} any more",
                right="start a new run",
            )
        positional, named = self._arguments.bind(execution, graph, node, context.params, context)
        return Call(node.fn, positional, named, node.task, graph_spec(graph, execution.key))

    def params_of(self, graph: LiveGraph, info: RunInfo) -> dict[str, Any]:
        """The run's parameters, made once a run."""
        known = self._params.get(info.run_id)
        if known is None:
            known = run_params(graph.graph, graph.fn, info)
            if graph.fn is not None:
                known = with_defaults(graph.fn, known)
            while len(self._params) >= KEPT_RUNS:
                del self._params[next(iter(self._params))]
            self._params[info.run_id] = known
        return known

    def _child(self, execution: Execution) -> Call:
        found = self._local_call(execution) if self._local_call is not None else None
        if found is None:
            if execution.call is None:
                raise UsageError(f"the arguments of {execution.key!r} did not reach the worker")
            found = self._pickled(execution.call)
        task, positional, named = found
        return Call(task.fn, positional, named, task, task.spec)

    def _pickled(self, call: bytes) -> tuple[Task[Any, Any], list[Any], dict[str, Any]]:
        task, positional, named = unpickle_call(call)
        by_ref = self._arguments.by_ref
        return task, [by_ref(value) for value in positional], {name: by_ref(value) for name, value in named.items()}

    def _hook(self, execution: Execution, context: Context) -> Call:
        graph = self._code.live(execution.run)
        resume: Mapping[str, Any] = execution.resume or {}
        name = execution.code.name if execution.code is not None else ""
        fn = graph.hooks.get(name)
        for node in graph.nodes.values():
            if fn is None and node.task is not None:
                fn = next((hook for _, hook in node.task.options_.hooks if hook.__qualname__ == name), None)
        if fn is None and self._local_call is not None:
            found = self._local_call(execution)
            fn = found[0].fn if found is not None else None
        if fn is None:
            raise UsageError(f"the hook {name!r} is not in the code of {execution.run.workflow!r} any more")
        told = {
            "run_id": context.run_id,
            "workflow": context.workflow,
            "task": resume.get("task"),
            "state": resume.get("state"),
            "map_path": list(execution.path),
        }
        return Call(fn, [told], {}, None, None)

    def _from_cache(self, execution: Execution, call: Call, key: str | None) -> Outcome | None:
        if key is None or call.task is None or call.task.options_.cache is None or call.task.options_.cache.refresh:
            return None
        record = look_up(self._results, key)
        if record is None:
            return None
        if self._keep is not None and "result" in record.outputs:
            self._keep(execution, self._results.get(record.outputs["result"]))
        return Outcome(outputs=record.outputs, cached=True, persisted=True)

    # --- after the call -----------------------------------------------------------------------------------------------

    def success(self, execution: Execution, call: Call, value: Any, context: Context, key: str | None) -> Outcome:
        """The outcome of a call that returned: what it emitted, stored; lengths, branch, checks, assets."""
        spec = call.spec
        if execution.runner == "check":
            return self._checked(spec, value)
        values = self._emitted(spec, value)
        if execution.child is not None and self._keep is not None:
            return self._kept(execution, call, value, key)
        outputs = {name: self._store(execution, name, each) for name, each in values.items()}
        if key is not None and call.task is not None:
            remember(self._results, key, call.task, outputs)
        return Outcome(
            outputs=outputs,
            emitted=tuple(values) if spec is not None and len(spec.outputs) > 1 else None,
            lengths=_lengths(spec, values),
            branch=_branch(value) if execution.runner == "branch" else None,
            short_circuit=_short_circuit(spec, value) if execution.runner == "short_circuit" else None,
            assets=_assets(spec, values, context),
            persisted=key is not None,
        )

    def _kept(self, execution: Execution, call: Call, value: Any, key: str | None) -> Outcome:
        """A flow's child in this process: its live value is handed on; one that cannot be stored is marked."""
        assert self._keep is not None
        self._keep(execution, value)
        try:
            outputs = {"result": self._store(execution, "result", value)}
        except TypeError:
            return Outcome(unstored=True)
        if key is not None and call.task is not None:
            remember(self._results, key, call.task, outputs)
        return Outcome(outputs=outputs, persisted=key is not None)

    def _store(self, execution: Execution, output: str, value: Any) -> Stored:
        return self._results.put(value, f"{execution.run.run_id}/{execution.no}/{execution.token}/{output}")

    def _emitted(self, spec: TaskSpec | None, value: Any) -> dict[str, Any]:
        if spec is None or len(spec.outputs) == 1:
            return {spec.outputs[0].name if spec is not None else "result": value}
        names = [output.name for output in spec.outputs]
        if not isinstance(value, dict) or not set(value) <= set(names):
            raise TypeError(
                f"a task with the outputs {', '.join(names)} returns a dict with these names, not {type(value).__name__}"
                + (f" with {', '.join(map(str, value))}" if isinstance(value, dict) else "")
            )
        return value

    def _checked(self, spec: TaskSpec | None, value: Any) -> Outcome:
        about = spec.metadata if spec is not None else {}
        result = CheckResult(
            name=about.get("check", ""),
            passed=bool(value),
            severity=about.get("severity", "error"),
            blocking=about.get("blocking", False),
            asset=about.get("asset"),
        )
        return Outcome(checks=(result,))


def _lengths(spec: TaskSpec | None, values: Mapping[str, Any]) -> dict[str, int | list[str]]:
    if spec is None:
        return {}
    found: dict[str, int | list[str]] = {}
    for output in spec.outputs:
        value = values.get(output.name)
        if not output.measured or value is None:
            continue
        if isinstance(value, dict):
            found[output.name] = [str(key) for key in value]
        elif isinstance(value, (list, tuple, range)):
            found[output.name] = len(value)
    return found


def _branch(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (list, tuple, set)) and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise TypeError(f"a task with branch=True returns the names of the tasks to run, not {value!r}")


def _short_circuit(spec: TaskSpec | None, value: Any) -> str | None:
    if value:
        return None
    return str(spec.metadata.get("short_circuit", "all")) if spec is not None else "all"


def _assets(spec: TaskSpec | None, values: Mapping[str, Any], context: Context) -> tuple[AssetEvent, ...]:
    if spec is None:
        return ()
    return tuple(
        AssetEvent(
            key=output.asset,
            partition=context.partition,
            data_version=context.data_version or spec.metadata.get("code_version"),
            metadata=context.metadata,
        )
        for output in spec.outputs
        if output.asset is not None and output.name in values
    )


# --- failures ---------------------------------------------------------------------------------------------------------


def failure(error: BaseException, task: Task[Any, Any] | None, attempt: int) -> Outcome:
    """What it means that user code raised."""
    match error:
        case Skip():
            return Outcome(verdict=Verdict.SKIPPED, error=ErrorInfo(type="Skip", message=str(error)))
        case LookAgain():
            until = error.at.timestamp() if error.at is not None else time.time() + (error.delay or 0.0)
            return Outcome(verdict=Verdict.RESCHEDULE, until=until)
        case TaskCancelled():
            return Outcome(verdict=Verdict.CANCELLED, error=ErrorInfo(type="TaskCancelled", message=str(error)))
        case Fail():
            return Outcome(verdict=Verdict.FAILED, error=error_info(error), retry=RetryVerdict.NEVER)
        case RetryAfter():
            return Outcome(verdict=Verdict.FAILED, error=error_info(error), retry_delay=error.delay)
        case _:
            return _by_policy(error, task, attempt)


def _by_policy(error: BaseException, task: Task[Any, Any] | None, attempt: int) -> Outcome:
    """The retry condition and a delay that is a function are asked here; what they raise means no retry."""
    info = error_info(error)
    retries = task.options_.retries if task is not None else None
    verdict, delay = RetryVerdict.POLICY, None
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        verdict = RetryVerdict.NEVER if isinstance(error, KeyboardInterrupt) else RetryVerdict.POLICY
    if retries is not None and attempt <= retries.times:
        try:
            if retries.when is not None and not retries.when(error):
                verdict = RetryVerdict.NEVER
            elif retries.delay_function is not None:
                delay = seconds(retries.delay_function(attempt))
        except Exception as raised:  # the user's own condition is broken: fail now, and say so
            verdict = RetryVerdict.NEVER
            message = f"{info.message} (and the retry policy raised {type(raised).__name__}: {raised})"
            info = msgspec.structs.replace(info, message=message)
    return Outcome(verdict=Verdict.FAILED, error=info, retry=verdict, retry_delay=delay)


def error_info(error: BaseException) -> ErrorInfo:
    """An exception as text, and pickled where that is possible and small."""
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)  # many exceptions pickle but do not come back; what we made ourselves a line above
    except Exception:  # it has arguments that cannot be pickled: the text is what remains
        pickled = None
    return ErrorInfo(
        type=type(error).__name__,
        message=str(error),
        traceback="".join(traceback.format_exception(error)),
        where=frames_of_user(error),
        pickled=pickled if pickled is not None and len(pickled) <= MOST_PICKLED_ERROR else None,
    )


def exception_of(info: ErrorInfo) -> BaseException:
    """The exception that a failure was: the original where it could be pickled, else TaskFailed with its text."""
    if info.pickled is not None:
        try:
            error = pickle.loads(info.pickled)  # pickled by our own worker, and read only where user code runs
            if isinstance(error, BaseException):
                return error
        except Exception:  # its class is not importable here
            return TaskFailed(info.text)
    return TaskFailed(info.text)
