"""Which stored values an execution gets: its node's bindings, resolved to references. The worker turns them into
arguments."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from plait.engine.plan import NodePlan, ScopePlan
from plait.engine.run import Run, TaskRun
from plait.model.graph import (
    Binding,
    DictOf,
    Element,
    FromAsset,
    FromOutput,
    ListOf,
    OverLiteral,
    OverOutput,
    OverParam,
    map_keys,
)
from plait.model.ids import MapElement, MapPath, TaskNo
from plait.model.outcome import Stored
from plait.model.states import TaskState
from plait.model.wire import Upstream
from plait.runtime.hosted import Hosted


def upstream_of(hosted: Hosted, task: TaskRun) -> dict[str, Upstream]:
    """All stored values behind a task run's bindings, by `task/output`, `@scope/source` and `#asset`."""
    found: dict[str, Upstream] = {}
    for binding in _leaves(task.node.spec.inputs.values()):
        if isinstance(binding, FromOutput):
            name = f"{binding.task}/{binding.output}"
            if name not in found:
                found[name] = _value(hosted, task, binding.task, binding.output)
        elif isinstance(binding, Element):
            name = f"@{binding.scope}/{binding.source}"
            if name not in found:
                found[name] = _element(hosted, task, binding)
        elif isinstance(binding, FromAsset):
            from plait.runtime import partitioned  # zones and calendars, which only assets need

            found[f"#{binding.key}"] = partitioned.value_of(hosted, task.node.spec, binding.key)
    return found


def versions_of(hosted: Hosted, task: TaskRun) -> dict[str, tuple[str, float]]:
    """The data versions of what a task run makes assets from, and up to when they are, as far as known."""
    about: dict[str, dict[str, Any]] = task.node.spec.metadata.get("assets", {})
    upstream: dict[str, dict[str, Any]] = task.node.spec.metadata.get("upstream", {})
    mapped = {key for key, each in upstream.items() if each["partitions"] is not None}
    found = _changes(hosted, task, mapped) if mapped else {}
    for key in dict.fromkeys(key for each in about.values() for key in each["deps"]):
        row = hosted.asset_row(key) if key not in mapped else None
        if row is not None and row.data_version is not None:
            found[key] = (row.data_version, row.data_time if row.data_time is not None else row.at)
    return found


def _changes(hosted: Hosted, task: TaskRun, mapped: Iterable[str]) -> dict[str, tuple[str, float]]:
    """What stands for the versions of assets of which other partitions are used than the run's own."""
    from plait.runtime import partitioned  # as above

    found = {key: partitioned.change_of(hosted, task.node.spec, key) for key in mapped}
    return {key: change for key, change in found.items() if change is not None}


def _leaves(bindings: Iterable[Binding]) -> Iterator[Binding]:
    for binding in bindings:
        if isinstance(binding, ListOf):
            yield from _leaves(binding.items)
        elif isinstance(binding, DictOf):
            yield from _leaves(binding.items.values())
        else:
            yield binding


def _value(hosted: Hosted, task: TaskRun, key: str, output: str) -> Upstream:
    run = hosted.run
    source = run.plan.nodes[key]
    common = 0
    for mine, theirs in zip(task.node.scopes, source.scopes, strict=False):
        if mine is not theirs:
            break
        common += 1
    if source.depth == common:
        above = run.index.get((key, task.path[:common]))
        return Upstream(one=_stored(hosted, [above], output)[0])
    instances = ordered(run, source, task.path[:common])
    keys = tuple(str(t.path[-1]) for t in instances) if _keyed(instances) else None
    return Upstream(many=tuple(_stored(hosted, instances, output)), keys=keys)


def _keyed(instances: list[TaskRun]) -> bool:
    return bool(instances) and bool(instances[0].path) and isinstance(instances[0].path[-1], str)


def _stored(hosted: Hosted, tasks: list[TaskRun] | list[TaskRun | None], output: str) -> list[Stored | None]:
    outputs: Mapping[TaskNo, Mapping[str, Stored]] = hosted.outputs.get(
        [task.no for task in tasks if task is not None and task.state is TaskState.SUCCESS]
    )
    return [outputs.get(task.no, {}).get(output) if task is not None else None for task in tasks]


def ordered(run: Run, node: NodePlan, prefix: MapPath) -> list[TaskRun]:
    """The instances of a mapped node below a path prefix, in the order of their elements."""
    paths: list[MapPath] = [prefix]
    for scope in node.scopes[len(prefix) :]:
        paths = [(*path, element) for path in paths for element in run.expanded.get((scope.key, path), ())]
    return [task for path in paths if (task := run.index.get((node.key, path))) is not None]


# --- elements of mapped scopes ----------------------------------------------------------------------------------------


def _element(hosted: Hosted, task: TaskRun, binding: Element) -> Upstream:
    run = hosted.run
    scope = run.plan.scopes[binding.scope]
    prefix = task.path[: scope.depth]
    at = _at(hosted, scope, prefix, task.path[scope.depth], binding.source)
    source = scope.spec.sources[binding.source]
    if not isinstance(source, OverOutput):
        return Upstream(at=at)
    node = run.plan.nodes[source.task]
    feed = next(f for f in node.feeds if f.scope is scope and f.source == binding.source)
    if node.depth == feed.common:
        above = run.index.get((node.key, prefix[: node.depth]))
        return Upstream(one=_stored(hosted, [above], source.output)[0], at=at)
    successes = [t for t in ordered(run, node, prefix[: feed.common]) if t.state is TaskState.SUCCESS]
    chosen = successes[at] if isinstance(at, int) else None
    return Upstream(one=_stored(hosted, [chosen], source.output)[0])


def _at(hosted: Hosted, scope: ScopePlan, prefix: MapPath, element: MapElement, source: int) -> MapElement:
    """Which element of one source stands for a combined element: a product counts its last source fastest."""
    sources = scope.spec.sources
    if len(sources) == 1:
        return element
    sizes = [_names(hosted, scope, prefix, number) for number in range(len(sources))]
    index = int(element)
    if scope.spec.how == "zip":
        return sizes[source][index]
    for number in range(len(sources) - 1, source, -1):
        index //= len(sizes[number])
    return sizes[source][index % len(sizes[source])]


def _names(hosted: Hosted, scope: ScopePlan, prefix: MapPath, number: int) -> tuple[MapElement, ...]:
    run = hosted.run
    source = scope.spec.sources[number]
    if isinstance(source, OverLiteral):
        return map_keys(source)
    if isinstance(source, OverParam):
        length = run.param_lengths.get(source.name, 0)
    else:
        node = run.plan.nodes[source.task]
        feed = next(f for f in node.feeds if f.scope is scope and f.source == number)
        if node.depth > feed.common:
            return tuple(range(run.feed_gate(feed, prefix[: feed.common]).success))
        task = run.index.get((node.key, prefix[: node.depth]))
        length = task.control.lengths.get(source.output, 0) if task is not None and task.control else 0
    return tuple(range(length)) if isinstance(length, int) else tuple(length)
