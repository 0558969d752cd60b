"""The attempt runner: one execution from its bindings to its outcome. The same in every executor.

What the user's code raises is an outcome, never an exception of the runner. Whatever needs the value or the exception
is decided here, where it lives: the retry condition and delay, branches, lengths of what is mapped over, caching,
what is emitted. An attempt is a generator, which hands out the coroutine of an async function; two small drivers run
it.
"""

import inspect
import time
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import Any, Protocol

import msgspec

from plait.authoring.context import Context, in_context
from plait.authoring.io import IOContext
from plait.authoring.live import LiveGraph
from plait.authoring.scope import in_scope
from plait.authoring.signals import Leaves
from plait.authoring.task import Task
from plait.model.errors import UsageError
from plait.model.graph import TaskSpec
from plait.model.outcome import Outcome, Stored
from plait.model.wire import DATA_INTERVAL, PARTITION_KEYS, STARTED_BY, Execution, RunInfo
from plait.ports import ResultStore
from plait.worker import io, materials
from plait.worker.arguments import Arguments, graph_spec, run_params, unpickle_call, utc_of, with_defaults
from plait.worker.caching import key_of, look_up, remember, result_name
from plait.worker.coroutines import complete
from plait.worker.failures import failure
from plait.worker.hooks import find_hook
from plait.worker.waits import TaskWaits

KEPT_RUNS = 64
_NEVER_WAIT = ("hook", "check", "flow")
"""Runners whose functions are called to their end; a flow's body has its host to wait for it."""


class Code(Protocol):
    """Finds the live objects behind a run's graph."""

    def live(self, info: RunInfo) -> LiveGraph:
        """The graph of a run with its functions. Raises LoadError when the code is not there any more."""
        ...


class Callers(Protocol):
    """Those in this process who called what is executed: bodies of flows. A worker process has none."""

    def call_of(self, execution: Execution) -> tuple[Any, list[Any], dict[str, Any]] | None:
        """What an execution calls, with its arguments; none when nobody here called it."""
        ...

    def hook_of(self, execution: Execution) -> Callable[..., Any] | None:
        """A hook of a task that was called here."""
        ...

    def came_to(self, execution: Execution, value: Any, error: BaseException | None = None) -> None:
        """Take the live value, or exception, of an execution."""
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

    def inputs(self) -> dict[str, Any]:
        """All arguments by name, however they are given; defaults count."""
        if self.task is None:
            return self.named
        bound = self.task.signature.bind(*self.positional, **self.named)
        bound.apply_defaults()
        return bound.arguments


class Harness:
    """Runs executions; implements the port `Runner`."""

    def __init__(self, code: Code, results: ResultStore, callers: Callers | None = None):
        self._code = code
        self._results = results
        self._arguments = Arguments(results)
        self._callers = callers
        self._params: dict[str, dict[str, Any]] = {}

    def run(self, execution: Execution) -> Outcome:
        """Run one execution."""
        attempt = self._attempt(execution)
        try:
            coroutine = next(attempt)
            while True:
                try:
                    value = complete(coroutine)
                except BaseException as error:  # noqa: BLE001  the attempt makes an outcome of whatever it is
                    coroutine = attempt.throw(error)
                else:
                    coroutine = attempt.send(value)
        except StopIteration as ended:
            return ended.value

    async def run_async(self, execution: Execution) -> Outcome:
        """Run one execution on the running event loop."""
        attempt = self._attempt(execution)
        try:
            coroutine = next(attempt)
            while True:
                try:
                    value = await coroutine
                except BaseException as error:  # noqa: BLE001  likewise; also a cancellation is an outcome
                    coroutine = attempt.throw(error)
                else:
                    coroutine = attempt.send(value)
        except StopIteration as ended:
            return ended.value

    def _attempt(self, execution: Execution) -> Generator[Coroutine[Any, Any, Any], Any, Outcome]:
        started = time.time()
        context = self.context_of(execution)
        call: Call | None = None
        try:
            call = self._prepare(execution, context)
            with in_scope(None), in_context(context):
                key = self._cache_key(execution, call)
                outcome = self._from_cache(execution, call, context, key)
                if outcome is None:
                    value = call.fn(*call.positional, **call.named)
                    if inspect.iscoroutine(value):
                        value = yield value
                    _check_left(context)
                    outcome = self._success(execution, call, value, context, key)
        except BaseException as error:  # noqa: BLE001  the user's code may raise anything; it becomes an outcome
            outcome = failure(error, call.task if call is not None else None, execution.attempt)
            if not isinstance(error, Leaves):
                self._came_to(execution, None, error)
        return msgspec.structs.replace(outcome, started_at=started, finished_at=time.time())

    def _came_to(self, execution: Execution, value: Any, error: BaseException | None = None) -> None:
        if self._callers is not None:
            self._callers.came_to(execution, value, error)

    # --- before the call ----------------------------------------------------------------------------------------------

    def context_of(self, execution: Execution) -> Context:
        """What the user's code can ask about its run."""
        info = execution.run
        start, end = info.extra.get(DATA_INTERVAL) or (None, None)
        context = Context(
            run_id=info.run_id,
            workflow=info.workflow,
            task=execution.key,
            map_path=execution.path,
            attempt=execution.attempt,
            max_attempts=execution.max_attempts,
            logical_date=utc_of(info.logical_date),
            data_interval_start=utc_of(start),
            data_interval_end=utc_of(end),
            partition=info.partition,
            params=self._params.get(info.run_id, {}),
            tags=info.tags,
            resume=execution.resume,
            started_by={name: info.extra[name] for name in STARTED_BY if name in info.extra} if info.extra else {},
        )
        if execution.runner not in _NEVER_WAIT:
            context.waits = TaskWaits(context)
        return context

    def _prepare(self, execution: Execution, context: Context) -> Call:
        if execution.runner == "hook":
            return self._hook(execution, context)
        if execution.child is not None:
            return self._child(execution, context)
        graph = self._code.live(execution.run)
        context.params = self.params_of(graph, execution.run)
        node = graph.nodes.get(execution.key)
        if node is None:
            raise UsageError(
                f"task {execution.key!r} is not in the code of {execution.run.workflow!r} any more",
                right="start a new run",
            )
        spec = graph_spec(graph, execution.key)
        context.selected = materials.selected(spec)
        context.partitions = spec.metadata.get("partitions")
        context.partition_list = execution.run.extra.get(PARTITION_KEYS)
        positional, named = self._arguments.bind(execution, graph, node, context.params, context)
        return Call(node.fn, positional, named, node.task, spec)

    def params_of(self, graph: LiveGraph, info: RunInfo) -> dict[str, Any]:
        """The run's parameters, made once a run."""
        known = self._params.get(info.run_id)
        if known is None:
            known = run_params(graph.graph, graph.fn, info, self._results)
            if graph.fn is not None:
                known = with_defaults(graph.fn, known)
            self.know_params(info.run_id, known)
        return known

    def know_params(self, run_id: str, params: dict[str, Any]) -> None:
        """These are the parameters of a run; those of the latest runs are remembered."""
        while len(self._params) >= KEPT_RUNS:
            self._params.pop(next(iter(self._params)), None)
        self._params[run_id] = params

    def _child(self, execution: Execution, context: Context) -> Call:
        found = self._callers.call_of(execution) if self._callers is not None else None
        if found is None:
            if execution.call is None:
                raise UsageError(f"the arguments of {execution.key!r} did not reach the worker")
            callee, positional, named = unpickle_call(execution.call)
            by_ref = self._arguments.by_ref
            found = callee, [by_ref(value) for value in positional], {name: by_ref(named[name]) for name in named}
        if not context.params:
            context.params = msgspec.json.decode(execution.run.params)
        task, positional, named = found
        return Call(task.fn, positional, named, task, task.spec)

    def _hook(self, execution: Execution, context: Context) -> Call:
        own = self._callers.hook_of(execution) if self._callers is not None else None
        fn = own or find_hook(execution, self._code.live(execution.run))
        told: Mapping[str, Any] = execution.resume or {}
        state = told.get("state") or (execution.child or "::").split(":")[1]
        about = {
            "run_id": context.run_id,
            "workflow": context.workflow,
            "task": told.get("task"),
            "map_path": list(execution.path),
            "state": state,
            "error": told.get("error"),
        }
        return Call(fn, [about], {}, None, None)

    # --- the cache ----------------------------------------------------------------------------------------------------

    def _cache_key(self, execution: Execution, call: Call) -> str | None:
        if call.task is None or call.task.options_.cache is None or _has_io(call.spec):
            return None
        return key_of(call.task, call.inputs(), execution.run.run_id)

    def _from_cache(self, execution: Execution, call: Call, context: Context, key: str | None) -> Outcome | None:
        if key is None or call.task is None or call.task.options_.cache is None or call.task.options_.cache.refresh:
            return None
        found = look_up(self._results, key)
        if found is None:
            return None
        if execution.child is not None and self._callers is not None:
            try:
                self._came_to(execution, self._results.get(found.outputs["result"]))
            except FileNotFoundError:  # somebody has deleted it: it is made anew
                return None
        assets = materials.materialized(call.spec, found.outputs, context, execution, {})
        return msgspec.structs.replace(found, cached=True, persisted=True, assets=assets)

    # --- after the call -----------------------------------------------------------------------------------------------

    def _success(self, execution: Execution, call: Call, value: Any, context: Context, key: str | None) -> Outcome:
        """The outcome of a call that returned: what it emitted, stored; lengths, branch, checks, assets."""
        spec = call.spec
        if execution.runner == "check":
            return materials.checked(spec, value, context)
        if execution.runner == "observe":
            return materials.observed(spec, value, context)
        values = _emitted(spec, value)
        told: Mapping[str, Any] = {}
        several = _has_several(spec)
        outcome = Outcome(emitted=tuple(values) if several else None, persisted=key is not None)
        if execution.child is not None and execution.runner != "hook":
            # A flow's child: its body gets the whole value. One that cannot be stored is marked, if it is here.
            self._came_to(execution, value)
            try:
                outputs = {"result": self._store(execution, "result", value, key)}
            except TypeError:
                if self._callers is None:
                    raise
                return msgspec.structs.replace(outcome, unstored=True, persisted=False)
            outcome = msgspec.structs.replace(outcome, outputs=outputs)
        else:
            outputs, told = self._store_all(execution, call, values, context, key)
            outcome = msgspec.structs.replace(
                outcome,
                outputs=outputs,
                lengths=_lengths(spec, values, every=key is not None),
                branch=self._branch(execution, value) if execution.runner == "branch" else None,
                short_circuit=_short_circuit(spec, value) if execution.runner == "short_circuit" else None,
            )
        if key is not None and call.task is not None:
            remember(self._results, key, call.task, outcome)
        assets = materials.materialized(spec, values, context, execution, told)
        return msgspec.structs.replace(outcome, assets=assets, checks=materials.checks_inside(spec, context))

    def _branch(self, execution: Execution, value: Any) -> tuple[str, ...]:
        chosen = _names(value)
        graph = self._code.live(execution.run).graph
        known = {node.key for node in graph.nodes} | {group.key for group in graph.groups}
        unknown = [name for name in chosen if name not in known]
        if unknown:
            below = sorted({edge.downstream for edge in graph.edges if edge.upstream == execution.key})
            raise UsageError(
                f"the branch {execution.key!r} chose {unknown[0]!r}, which is no task of {graph.name!r}",
                right=f"return the names of tasks below it: {', '.join(below) or 'there are none'}",
            )
        return chosen

    def _store_all(
        self, execution: Execution, call: Call, values: Mapping[str, Any], context: Context, key: str | None
    ) -> tuple[dict[str, Stored], dict[str, Any]]:
        """Store the outputs of a node, where it says so by IO managers; and what these have told, by output."""
        kept = {output.name: output for output in call.spec.outputs if output.io is not None} if call.spec else {}
        stored: dict[str, Stored] = {}
        told: dict[str, Any] = {}
        for name, value in values.items():
            asset = kept[name].asset if name in kept else None
            if asset is None or call.spec is None:
                stored[name] = self._store(execution, name, value, key)
            else:
                manager = self._code.live(execution.run).ios[asset]
                about = IOContext(asset, materials.partition_of(call.spec, context))
                stored[name], told[name] = io.store(manager, about, value, materials.keys_of(call.spec, context))
        return stored, told

    def _store(self, execution: Execution, output: str, value: Any, key: str | None) -> Stored:
        run_id, no, token = execution.run.run_id, execution.no, execution.token
        name = result_name(key, run_id, no, token, output) if key is not None else f"{run_id}/{no}/{token}/{output}"
        return self._results.put(value, name)


def _check_left(context: Context) -> None:
    """Raise UsageError when the user's code has caught what makes it leave at a wait, and gone on."""
    left = context.waits.left if isinstance(context.waits, TaskWaits) else None
    if left is not None:
        raise UsageError(
            f"the task was to leave at its wait for {left.name!r}, but an `except BaseException` (or a bare `except`) "
            "around it has let it go on",
            right="except Exception:",
        )


# --- what a value means for the run -----------------------------------------------------------------------------------


def _has_io(spec: TaskSpec | None) -> bool:
    """Whether an IO manager keeps some of its outputs: there the next value replaces what a cache would refer to."""
    return spec is not None and any(output.io is not None for output in spec.outputs)


def _has_several(spec: TaskSpec | None) -> bool:
    """Whether its function returns a dict of its outputs: also where only one of several assets is selected."""
    return spec is not None and (len(spec.outputs) > 1 or "several" in spec.metadata)


def _emitted(spec: TaskSpec | None, value: Any) -> dict[str, Any]:
    if spec is None or not _has_several(spec):
        return {spec.outputs[0].name if spec is not None else "result": value}
    names = [output.name for output in spec.outputs]
    if "several" in spec.metadata and isinstance(value, dict):  # what is not selected, too, may be there
        known = spec.metadata["several"]
        value = {name: each for name, each in value.items() if name in names or name not in known}
    if not isinstance(value, dict) or not set(value) <= set(names):
        raise TypeError(
            f"a task with the outputs {', '.join(names)} returns a dict with these names, not {type(value).__name__}"
            + (f" with {', '.join(map(str, value))}" if isinstance(value, dict) else "")
        )
    return value


def _lengths(spec: TaskSpec | None, values: Mapping[str, Any], *, every: bool) -> dict[str, int | list[str]]:
    """How long the outputs are that scopes map over; `every`: all of them, for other graphs that find them cached."""
    found: dict[str, int | list[str]] = {}
    for output in spec.outputs if spec is not None else ():
        value = values.get(output.name)
        if not (output.measured or every):
            continue
        if isinstance(value, dict):
            found[output.name] = [str(key) for key in value]
        elif isinstance(value, (list, tuple, range)):
            found[output.name] = len(value)
    return found


def _names(value: Any) -> tuple[str, ...]:
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
