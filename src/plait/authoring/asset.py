"""`@asset`: something that should exist, made by a function from other assets. `multi_asset` makes several at once;
`external` and `observe` are about those that somebody else makes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast, overload

import msgspec
from msgspec.structs import replace

from plait.authoring.io import IOManager
from plait.authoring.partitions import Partitions
from plait.authoring.retry import Seconds, seconds
from plait.authoring.schedules import cron
from plait.authoring.task import Task, TaskOptions, check_function, lowered
from plait.authoring.where import here, place_of
from plait.model.assets import AssetDep, AssetKind, AssetSpec, Freshness
from plait.model.automation import Condition
from plait.model.errors import DefinitionError
from plait.model.graph import RESULT, OutputSpec

P = ParamSpec("P")
R = TypeVar("R")


class Keyed(Protocol):
    """Something with an asset's key; with `mapping`, it says how its partitions map."""

    @property
    def key(self) -> str:
        """The key."""
        ...


Deps = Sequence["str | Keyed"]


@dataclass(frozen=True)
class Out:
    """One of the assets that a `multi_asset` makes; the options are those of `asset`. One that is not `required` may be
    left out, which skips what is made from it. Without `deps`, it is made from all that the function takes."""

    deps: Deps | None = None
    group: str | None = None
    kinds: Sequence[str] = ()
    owners: Sequence[str] = ()
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    code_version: str | None = None
    required: bool = True
    io: IOManager | None = None
    freshness: Freshness | None = None
    automation: Condition | None = None
    doc: str = ""


class Definition:
    """Base of what defines assets: `specs` (without what its function takes), `ios` by key, `partitions`, and where it
    stands; `task` (of the function `fn`) makes or observes them, none for external ones."""

    step: str = ""
    subset: bool = False
    fn: Any = None

    def __init__(
        self,
        specs: Sequence[AssetSpec],
        ios: Mapping[str, IOManager],
        partitions: Partitions | None,
        task: Task[..., Any] | None = None,
    ):
        self.specs = tuple(specs)
        self.ios = dict(ios)
        self.partitions = partitions
        self.task = task

    @property
    def place(self) -> str:
        """Where it stands, file:line."""
        return self.specs[0].place

    @property
    def inputs(self) -> tuple[str, ...]:
        """The keys of the assets whose values its function takes: the names of its parameters, except `context`."""
        if self.task is None:
            return ()
        return tuple(name for name in self.task.signature.parameters if name != "context")


class Asset(Definition, Generic[P, R]):
    """Something that should exist. Calling it is a plain call of its function."""

    def __init__(
        self,
        fn: Callable[P, R],
        spec: AssetSpec,
        task: Task[P, R],
        io: IOManager | None = None,
        partitions: Partitions | None = None,
    ):
        super().__init__([spec], {spec.key: io} if io is not None else {}, partitions, task)
        self.fn = fn
        self.key = self.name = self.step = spec.key
        functools.update_wrapper(self, fn, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<asset {self.key!r}>"


class MultiAsset(Definition, Generic[P, R]):
    """Several assets that one function makes. Calling it is a plain call of its function; `made["users"]` is the key of
    one of them, for `deps` and checks."""

    def __init__(
        self,
        fn: Callable[P, R],
        specs: Sequence[AssetSpec],
        task: Task[P, R],
        ios: Mapping[str, IOManager],
        partitions: Partitions | None,
        *,
        subset: bool,
    ):
        super().__init__(specs, ios, partitions, task)
        self.fn = fn
        self.name = self.step = task.name
        self.subset = subset
        functools.update_wrapper(self, fn, updated=())

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of its assets."""
        return tuple(spec.key for spec in self.specs)

    def __getitem__(self, key: str) -> str:
        if key not in self.keys:
            raise KeyError(f"{self.name!r} makes {', '.join(self.keys)}, not {key!r}")
        return key

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<assets {', '.join(self.keys)}>"


class ExternalAsset(Definition):
    """An asset that somebody else makes. What is made from it can name it, and load it if it has an IO manager."""

    def __init__(self, spec: AssetSpec, io: IOManager | None, partitions: Partitions | None):
        super().__init__([spec], {spec.key: io} if io is not None else {}, partitions)
        self.key = spec.key

    def __repr__(self) -> str:
        return f"<external asset {self.key!r}>"


_SHARED = (
    "deps", "group", "kinds", "owners", "tags", "metadata", "code_version", "partitions", "io", "freshness",
    "automation",
)  # fmt: skip
_OWN = ("key", *_SHARED)


@overload
def asset(fn: Callable[P, R], /) -> Asset[P, R]: ...
@overload
def asset(
    *,
    key: str = ...,
    deps: Deps = ...,
    partitions: Partitions | None = ...,
    group: str = ...,
    kinds: Sequence[str] = ...,
    owners: Sequence[str] = ...,
    tags: Sequence[str] = ...,
    metadata: Mapping[str, Any] = ...,
    code_version: str | None = ...,
    io: IOManager | None = ...,
    freshness: Freshness | None = ...,
    automation: Condition | None = ...,
    **task_options: Any,
) -> Callable[[Callable[P, R]], Asset[P, R]]: ...
def asset(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function an asset: something that should exist and be fresh. Its parameters are the assets that it is made
    from, by name; one called `context` gets the context of the run instead.

    `key`: its name, the function's if not given. `deps`: assets that must be there first, whose values it does not
    take. `partitions`: the slices that it has a value for (`daily("2013-01-01")`). `group`, `kinds`, `owners`, `tags`,
    `metadata`: for people and selections. `code_version`: what to change when its code gives other results. `io`: the
    IO manager that keeps its values. `freshness`: how new it has to be (`fresh(...)`). `automation`: when it is made by
    itself (`eager()`). All options of `task` go as well (retries, pool, timeout ...).

        @asset(partitions=daily("2013-01-01"))
        def flights(context) -> Table:
            return extract(context.partition_key)
    """

    def make(function: Callable[..., Any]) -> Asset[..., Any]:
        own, rest = _parted(function, "@asset", options, _OWN)
        key = own.get("key") or function.__name__
        spec = _spec(key, own, function, step=key)
        task = _task(function, key, (OutputSpec(asset=key, io=spec.io),), rest, "@asset", _OWN)
        task.spec = replace(task.spec, tags=spec.tags)
        return Asset(function, spec, task, own.get("io"), own.get("partitions"))

    return make if fn is None else make(fn)


def multi_asset(
    *,
    outs: Mapping[str, Out] | Sequence[str],
    name: str = "",
    subset: bool = False,
    **options: Any,
) -> Callable[[Callable[P, R]], MultiAsset[P, R]]:
    """Make a function several assets, `outs`: their keys, or an `Out` for each. It returns a dict of their values by
    key. With `subset`, a run may be for some of them only: `context.selected` says which; else it always makes all.

    The other options are those of `asset`; an `Out` that says otherwise counts.

        @multi_asset(outs={"users": Out(group="raw"), "orders": Out(required=False)})
        def load(context):
            return {"users": read("users")}
    """

    def make(function: Callable[P, R]) -> MultiAsset[P, R]:
        own, rest = _parted(function, "@multi_asset", options, _SHARED)
        given = dict(outs) if isinstance(outs, Mapping) else {key: Out() for key in outs}
        if not given:
            raise DefinitionError(
                "a multi_asset makes at least one asset", where=place_of(function), right='outs=["users", "orders"]'
            )
        step = name or function.__name__
        specs = [_spec(key, _combined(own, out), function, step=step, output=key) for key, out in given.items()]
        ios = {key: manager for key, out in given.items() if (manager := out.io or own.get("io")) is not None}
        outputs = tuple(
            OutputSpec(name=spec.key, asset=spec.key, required=not spec.optional, io=spec.io) for spec in specs
        )
        task = _task(function, step, outputs, rest, "@multi_asset", ("outs", "name", "subset", *_SHARED))
        task.spec = replace(task.spec, metadata={**task.spec.metadata, "several": list(given)})
        return MultiAsset(function, specs, task, ios, own.get("partitions"), subset=subset)

    return make


def external(key: str, **options: Any) -> ExternalAsset:
    """An asset that somebody else makes, so that others can be made from it. Options: `group`, `kinds`, `owners`,
    `tags`, `metadata`, `partitions`, `freshness`; with `io`, its value can be taken.

        clicks = external("clicks", kinds=["s3"], io=ParquetFiles("s3://lake"))
    """
    where, wrong = here()
    known = [name for name in _SHARED if name not in ("deps", "code_version", "automation")]
    for option in options:
        if option not in known:
            raise DefinitionError(
                f"external has no option {option!r}", where=where, wrong=wrong, right=f"one of: {', '.join(known)}"
            )
    spec = _spec(key, options, None, kind=AssetKind.EXTERNAL, place=where)
    return ExternalAsset(spec, options.get("io"), options.get("partitions"))


def observe(*, key: str = "", **options: Any) -> Callable[[Callable[P, R]], Asset[P, R]]:
    """Make a function the observation of an asset that somebody else makes: it returns the asset's data version (text;
    what else it returns is hashed). When that changes, what is made from the asset is stale. Options as of `asset`.

        @observe(key="clicks")
        def look() -> str:
            return head("s3://lake/clicks").etag
    """

    def make(function: Callable[P, R]) -> Asset[P, R]:
        own, rest = _parted(function, "@observe", options, _SHARED)
        spec = _spec(key or function.__name__, own, function, step=key or function.__name__, kind=AssetKind.OBSERVED)
        task = _task(function, spec.key, (OutputSpec(asset=spec.key),), rest, "@observe", ("key", *_SHARED))
        return Asset(function, spec, task, own.get("io"), own.get("partitions"))

    return make


def fresh(
    *, deadline: str = "", tz: str = "UTC", within: Seconds | None = None, lag: Seconds | None = None
) -> Freshness:
    """How new an asset has to be. `deadline`: at each time of this cron expression (on the clock of zone `tz`) it was
    materialized in the last `within` seconds (or timedelta), without in the time since the time before. `lag`: what it
    is made from is at most so old, through all that is upstream. Both may be given.

        @asset(freshness=fresh(deadline="0 9 * * MON-FRI", tz="Europe/Berlin", lag=timedelta(days=1)))
    """
    if not deadline and lag is None:
        where, wrong = here()
        raise DefinitionError(
            "fresh needs a deadline or a lag", where=where, wrong=wrong, right='fresh(deadline="0 9 * * *")'
        )
    if deadline:
        cron(deadline, tz=tz)
    return Freshness(
        deadline=deadline,
        tz=tz,
        within=seconds(within) if within is not None else None,
        lag=seconds(lag) if lag is not None else None,
    )


# --- lowering ---------------------------------------------------------------------------------------------------------


def _parted(
    function: Callable[..., Any], decorator: str, options: Mapping[str, Any], names: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options that are about assets, and those of the task."""
    check_function(function, decorator)
    own = {name: options[name] for name in names if name in options}
    return own, {name: value for name, value in options.items() if name not in names}


def _task(
    function: Callable[P, R],
    name: str,
    outputs: tuple[OutputSpec, ...],
    options: dict[str, Any],
    decorator: str,
    others: Sequence[str],
) -> Task[P, R]:
    settings = lowered(options, decorator, others)
    settings.update(outputs=outputs, name=name)
    return Task(function, TaskOptions(**settings))


def _combined(own: Mapping[str, Any], out: Out) -> dict[str, Any]:
    """The options of a multi_asset as they are for one of its assets."""
    said = {name: value for name in Out.__dataclass_fields__ if (value := getattr(out, name)) not in (None, (), {}, "")}
    return {**own, **said}


def _spec(
    key: str,
    own: Mapping[str, Any],
    function: Callable[..., Any] | None,
    *,
    step: str = "",
    output: str = RESULT,
    kind: AssetKind = AssetKind.MADE,
    place: str = "",
) -> AssetSpec:
    place = place_of(function) if function is not None else place
    _check_options(key, own, place)
    partitions: Partitions | None = own.get("partitions")
    manager: IOManager | None = own.get("io")
    return AssetSpec(
        key=key,
        kind=kind,
        step=step,
        output=output,
        group=own.get("group") or "default",
        kinds=tuple(own.get("kinds", ())),
        owners=tuple(own.get("owners", ())),
        tags=tuple(own.get("tags", ())),
        metadata=dict(own.get("metadata", {})),
        doc=(own.get("doc") or (function.__doc__ if function is not None else "") or "").strip(),
        place=place,
        deps=tuple(deps_of(own.get("deps", ()))),
        partitions=partitions.spec() if partitions is not None else None,
        code_version=own.get("code_version"),
        optional=not own.get("required", True),
        io=manager.name if manager is not None else None,
        freshness=own.get("freshness"),
        automation=own.get("automation"),
    )


def deps_of(given: Iterable[Any]) -> Iterable[AssetDep]:
    """Dependencies as users write them: keys, assets, or what has a `key` and a `mapping` of partitions."""
    for dep in given:
        mapping = getattr(dep, "mapping", None)
        data = cast("dict[str, Any]", msgspec.to_builtins(mapping)) if mapping is not None else None
        yield AssetDep(key=dep if isinstance(dep, str) else dep.key, mapping=data)


_TYPES: dict[str, tuple[type[Any], str]] = {
    "partitions": (Partitions, 'partitions=daily("2013-01-01")'),
    "io": (IOManager, 'io=PickleFiles("data")'),
    "freshness": (Freshness, 'freshness=fresh(deadline="0 9 * * *")'),
    "automation": (cast("type[Any]", Condition), "automation=eager()"),
}


def _check_options(key: str, own: Mapping[str, Any], place: str) -> None:
    for name, (kind, right) in _TYPES.items():
        value = own.get(name)
        if value is not None and not isinstance(value, kind):
            what = f"the {name} of {key!r} {'are' if name == 'partitions' else 'is'} {value!r}"
            raise DefinitionError(what, where=place, wrong=f"{name}={value!r}", right=right)
    for name in ("kinds", "owners", "tags", "deps"):
        if isinstance(own.get(name), str):
            raise DefinitionError(
                f"the {name} of {key!r} are a list", where=place, wrong=f"{name}={own[name]!r}",
                right=f"{name}=[{own[name]!r}]",
            )  # fmt: skip
    wrong = next((sign for sign in '"()+, \t\n' if sign in key), None)
    if not key or wrong is not None:
        what = f"the key {key!r} has {wrong!r} in it, which is a sign of selections" if key else "an asset has a key"
        raise DefinitionError(what, where=place, wrong=f"key={key!r}", right='key="orders"')
