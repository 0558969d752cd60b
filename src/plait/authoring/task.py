"""`@task`: a function that an engine can run, retry, cache, map and limit."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

import msgspec

from plait.authoring.futures import Future, FutureList
from plait.authoring.retry import NO_RETRY, Retry, Seconds, retry_of, seconds
from plait.authoring.scope import Scope, current_scope, scope_for
from plait.authoring.where import code_of, head_of, here, place_of, unknown_option
from plait.model.errors import DefinitionError
from plait.model.graph import HookSpec, OutputSpec, TaskSpec
from plait.model.policies import CachePolicy, LimitUse, TriggerRule

P = ParamSpec("P")
R = TypeVar("R")
Hook = Callable[[dict[str, Any]], Any]
EXECUTORS = ("threads", "processes", "inline")


class Cache(msgspec.Struct, frozen=True):
    """When a task's recorded result is used instead of running it again.

    The key is made of the input values and the task's source; `run=True` adds the run (nothing is shared between runs),
    `exclude` leaves inputs out, `key` is a function of (task name, inputs) that returns the key itself, or None for no
    caching. `expires`: seconds after which a result is not used any more. `refresh`: run, and replace what is cached.
    """

    inputs: bool = True
    source: bool = True
    run: bool = False
    exclude: tuple[str, ...] = ()
    key: Callable[[str, dict[str, Any]], str | None] | None = None
    expires: Seconds | None = None
    refresh: bool = False

    def policy(self) -> CachePolicy:
        """The static part, as the engine knows it."""
        return CachePolicy(
            inputs=self.inputs,
            source=self.source,
            run=self.run,
            exclude=self.exclude,
            key_fn=self.key is not None,
            expires=seconds(self.expires) if self.expires is not None else None,
            refresh=self.refresh,
        )


class TaskOptions(msgspec.Struct, frozen=True):
    """Everything that `@task` takes, in one value; see `task` for the meanings."""

    name: str = ""
    retries: Retry = NO_RETRY
    timeout: Seconds | None = None
    wait_timeout: Seconds | None = None
    soft_fail: bool = False
    pool: str | None = None
    slots: int = 1
    limits: tuple[LimitUse, ...] = ()
    tags: tuple[str, ...] = ()
    priority: int = 0
    concurrency: int | None = None
    cache: Cache | None = None
    trigger_rule: TriggerRule = TriggerRule.ALL_SUCCESS
    outputs: tuple[OutputSpec, ...] = (OutputSpec(),)
    executor: str | None = None
    branch: bool = False
    short_circuit: str | None = None
    depends_on_past: bool = False
    hooks: tuple[tuple[str, Hook], ...] = ()


class Task(Generic[P, R]):
    """A function with policies. Calling it depends on where: in a flow it is recorded and returns the value, while a
    dag is traced it adds a node, anywhere else it is a plain call of `fn`."""

    def __init__(self, fn: Callable[P, R], options: TaskOptions):
        self.fn = fn
        self.options_ = options
        self.name = options.name or getattr(fn, "__name__", type(fn).__name__)
        self.is_async = inspect.iscoroutinefunction(fn)
        self.signature = inspect.signature(fn)
        functools.update_wrapper(self, fn, updated=())
        self.spec = _spec(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        scope = current_scope()
        if scope is None:
            return self.fn(*args, **kwargs)
        return cast("R", scope.call(self, args, kwargs))

    def submit(self, *args: Any, **kwargs: Any) -> Future[R]:
        """Start the task in the background and return its future. Arguments may be futures.

        Outside of a flow there is nobody to run it: DefinitionError says what to write.
        """
        return cast("Future[R]", self._inside("submit").submit(self, args, kwargs))

    def map(self, *args: Any, **kwargs: Any) -> FutureList[R]:
        """Run the task once per element. Lists and dicts are mapped over side by side (zip; of equal length),
        everything else, and what is marked `unmapped`, goes to every element as it is. A dict maps over its values,
        named by its keys."""
        return cast("FutureList[R]", self._inside("map").map(self, args, kwargs, "zip"))

    def product(self, *args: Any, **kwargs: Any) -> FutureList[R]:
        """Like `map`, over all combinations of the elements (the last argument varies fastest)."""
        return cast("FutureList[R]", self._inside("product").map(self, args, kwargs, "product"))

    def options(self, **changes: Any) -> Task[P, R]:
        """The same task with some options changed: `extract.options(name="extract_eu", retries=5)`."""
        return Task(self.fn, msgspec.structs.replace(self.options_, **lowered(changes)))

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """Its hooks, in the order of its spec's."""
        return tuple(hook for _, hook in self.options_.hooks)

    def _inside(self, what: str) -> Scope:
        return scope_for(f"{self.name}.{what}()", f"{self.name}(...) for a plain call")

    def __repr__(self) -> str:
        return f"<task {self.name!r}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """By its name where another process can import it so, else by value (its function, with cloudpickle)."""
        module, name = self.fn.__module__, getattr(self.fn, "__qualname__", "<locals>")
        if module != "__main__" and "<locals>" not in name and _importable(module):
            named = _named(module, name)
            if named is self:
                return _named, (module, name)
            if isinstance(named, Task) and named.fn is self.fn:
                return _with_options, (module, name, self.options_)
        return Task, (self.fn, self.options_)


def _named(module: str, name: str) -> Any:
    """What a module holds under a qualified name, none if there is no such thing."""
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _importable(module: str) -> bool:
    """Whether a worker finds the module that this process has under its name: on the path, or as a loaded file."""
    known = sys.modules.get(module)
    file = getattr(known, "__file__", None)
    if file is None or hasattr(known, "__plait_loaded__"):
        return file is not None
    tail = os.path.join(*module.split("."))
    places = (f"{tail}.py", os.path.join(tail, "__init__.py"))
    return any(os.path.join(os.path.abspath(entry), place) == file for entry in sys.path for place in places)


def _with_options(module: str, name: str, options: TaskOptions) -> Task[..., Any]:
    return Task(_named(module, name).fn, options)


def _spec(task: Task[..., Any]) -> TaskSpec:
    """The node of a task, before it is given a key and inputs of its own."""
    o = task.options_
    limits = list(o.limits)
    if o.pool is not None:
        limits.append(LimitUse(key=f"pool:{o.pool}", slots=o.slots))
    limits.extend(LimitUse(key=f"tag:{tag}") for tag in o.tags)
    return TaskSpec(
        key=task.name,
        runner="branch" if o.branch else "short_circuit" if o.short_circuit else "python",
        code=code_of(task.fn),
        doc=inspect.getdoc(task.fn) or "",
        outputs=o.outputs,
        trigger_rule=o.trigger_rule,
        retry=o.retries.policy(),
        timeout=seconds(o.timeout) if o.timeout is not None else None,
        wait_timeout=seconds(o.wait_timeout) if o.wait_timeout is not None else None,
        soft_fail=o.soft_fail,
        cache=o.cache.policy() if o.cache is not None else None,
        persist=o.cache is not None,
        limits=tuple(limits),
        max_active=o.concurrency,
        priority=o.priority,
        executor=o.executor,
        depends_on_past=o.depends_on_past,
        hooks=tuple(HookSpec(on=on, code=code_of(hook)) for on, hook in o.hooks),
        tags=o.tags,
        metadata={"short_circuit": o.short_circuit} if o.short_circuit else {},
    )


_HOOKS = ("on_success", "on_failure", "on_skip", "on_retry", "on_commit", "on_rollback")
_ON = {
    "on_success": ("success",),
    "on_failure": ("failed", "crashed"),
    "on_skip": ("skipped",),
    "on_retry": ("retry",),
    "on_commit": ("commit",),
    "on_rollback": ("rollback",),
}


def lower_hooks(given: dict[str, Any], keywords: Sequence[str]) -> tuple[tuple[str, Hook], ...]:
    """Take the `on_...` keywords, each a function or a list of them, as (state, function) pairs."""
    pairs: list[tuple[str, Hook]] = []
    for keyword in keywords:
        value = given.pop(keyword, None)
        hooks = cast("Sequence[Any]", value) if isinstance(value, (list, tuple)) else () if value is None else (value,)
        for hook in hooks:
            if not callable(hook):
                raise _wrong(f"{keyword} is a function or a list of functions, not {hook!r}", f"{keyword}=tell")
            pairs.extend((on, hook) for on in _ON[keyword])
    return tuple(pairs)


def lowered(given: dict[str, Any], decorator: str = "@task", others: Sequence[str] = ()) -> dict[str, Any]:
    """Keywords as users write them, as `TaskOptions` has them. Unknown ones are told with the ones that exist, also
    those `others` that the decorator has taken before."""
    given = dict(given)
    hooks = lower_hooks(given, _HOOKS)
    known = [name for name in TaskOptions.__struct_fields__ if name != "hooks"]
    for keyword in given:
        if keyword not in known:
            raise unknown_option(decorator, keyword, {*known, *_HOOKS, *others})
    made = {name: _LOWER[name](value) if name in _LOWER else value for name, value in given.items()}
    return {**made, "hooks": hooks} if hooks else made


def _wrong(what: str, right: str) -> DefinitionError:
    where, wrong = here()
    return DefinitionError(what, where=where, wrong=wrong, right=right)


def check_function(fn: Callable[..., Any], decorator: str) -> None:
    """Raise DefinitionError for what cannot be the body of anything."""
    if not callable(fn):
        raise _wrong(f"{decorator} is for a function, not for {fn!r}", f"{decorator}\ndef step(): ...")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise DefinitionError(
            f"{fn.__name__!r} is a generator: its body does not run when it is called, its values cannot be handed on",
            where=place_of(fn),
            wrong=f"{decorator}\n{head_of(fn)}: yield ...",
            right=f"{decorator}\n{head_of(fn)}: return [...]",
        )


def check_executor(name: str | None) -> str | None:
    """Raise DefinitionError unless there is such an executor."""
    if name is not None and name not in EXECUTORS:
        raise _wrong(f"there is no executor {name!r}", " or ".join(f'executor="{each}"' for each in EXECUTORS))
    return name


def _trigger_rule(given: str) -> TriggerRule:
    try:
        return TriggerRule(given)
    except ValueError:
        known = ", ".join(rule.value for rule in TriggerRule)
        raise _wrong(f"there is no trigger rule {given!r}", f"one of: {known}") from None


def _limits(given: dict[str, int] | tuple[LimitUse, ...]) -> tuple[LimitUse, ...]:
    if isinstance(given, tuple):
        return given
    return tuple(LimitUse(key=f"key:{key}", slots=_count("limits", slots)) for key, slots in given.items())


def _outputs(given: Sequence[str | OutputSpec]) -> tuple[OutputSpec, ...]:
    made = tuple(_output(each) for each in ([given] if isinstance(given, str) else given))
    names = [output.name for output in made]
    if not names or len(set(names)) < len(names):
        raise _wrong("outputs have names, each once", 'outputs=["good", "bad?"]')
    return made


def _short_circuit(given: bool | str | None) -> str | None:
    if given not in (None, True, False, "all", "direct"):
        raise _wrong(f"short_circuit is not {given!r}", 'short_circuit="all" or "direct"')
    return "all" if given is True else str(given) if given else None


def _cache(given: Any) -> Cache | None:
    if given is not None and not isinstance(given, Cache):
        raise _wrong(f"a cache is not {given!r}", "cache=Cache()")
    return given


def _count(option: str, given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise _wrong(f"{option} is a whole number from 1, not {given!r}", f"{option}=1")
    return given


_LOWER: dict[str, Callable[[Any], Any]] = {
    "retries": retry_of,
    "trigger_rule": _trigger_rule,
    "limits": _limits,
    "tags": tuple,
    "outputs": _outputs,
    "short_circuit": _short_circuit,
    "cache": _cache,
    "executor": check_executor,
    "slots": lambda given: _count("slots", given),
    "concurrency": lambda given: None if given is None else _count("concurrency", given),
}


def _output(given: str | OutputSpec) -> OutputSpec:
    """An output by its name; `"name?"` is optional."""
    if isinstance(given, OutputSpec):
        return given
    return OutputSpec(name=given.rstrip("?"), required=not given.endswith("?"))


@overload
def task(fn: Callable[P, R], /, **options: Any) -> Task[P, R]: ...
@overload
def task(
    *,
    name: str = ...,
    retries: int | Retry = ...,
    timeout: Seconds | None = ...,
    wait_timeout: Seconds | None = ...,
    soft_fail: bool = ...,
    pool: str | None = ...,
    slots: int = ...,
    limits: dict[str, int] = ...,
    tags: Sequence[str] = ...,
    priority: int = ...,
    concurrency: int | None = ...,
    cache: Cache | None = ...,
    trigger_rule: str = ...,
    outputs: Sequence[str | OutputSpec] = ...,
    executor: str | None = ...,
    branch: bool = ...,
    short_circuit: bool | str = ...,
    depends_on_past: bool = ...,
    on_success: Hook | Sequence[Hook] | None = ...,
    on_failure: Hook | Sequence[Hook] | None = ...,
    on_skip: Hook | Sequence[Hook] | None = ...,
    on_retry: Hook | Sequence[Hook] | None = ...,
    on_commit: Hook | Sequence[Hook] | None = ...,
    on_rollback: Hook | Sequence[Hook] | None = ...,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a task. Use it with or without arguments, or on a function that you have: `task(fn, retries=3)`.

    `name`: its name, the function's if not given. `retries`: how many, or a `Retry`. `timeout`: seconds (or a
    timedelta) of one attempt, enforced by killing the process where tasks run in processes. `pool` and `slots`: slots
    of a named pool that it takes while it runs. `limits`: slots of limits by key, `{"api": 2}`. `tags`: labels, each
    also a limit if one is declared for it. `priority`: higher starts first. `concurrency`: how many of it run at once
    in one run. `cache`: a `Cache`. `trigger_rule`: when it starts, given its upstream (Airflow's names, default
    all_success). `outputs`: names of several outputs, returned as a dict; a name that ends in "?" is optional.
    `branch`: it returns the names of the tasks below it that run. `short_circuit`: a false result skips what is below
    ("all"; or "direct" for the next tasks only). `wait_timeout`: seconds from the first look of a sensor that raises
    `LookAgain`; `soft_fail`: it is then skipped instead of failed. `depends_on_past`: wait for itself in the run
    before. `on_...`: functions called with a dict that tells what happened.

        @task(retries=Retry(3, delay=60, factor=2, cap=3600), timeout=7200, pool="warehouse")
        def load(table: Table) -> int: ...
    """

    def make(function: Callable[..., Any]) -> Task[..., Any]:
        if isinstance(function, Task):
            return cast("Task[..., Any]", function).options(**options)
        check_function(function, "@task")
        return Task(function, TaskOptions(**lowered(options)))

    return make if fn is None else make(fn)
