"""The parameters of a run, as they are kept: plain data as JSON, what JSON would not give back as it was in the
result store; and the logical date and partition that they say."""

import time
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

import msgspec

from plait.authoring.definitions import Definitions, Workflow
from plait.authoring.live import LiveGraph
from plait.authoring.params import is_plain, to_plain, validate
from plait.engine.partitions import edges
from plait.engine.partitions.answers import Answers
from plait.engine.partitions.spaces import DynamicKeys, has_dynamic, parse, space_of
from plait.model.errors import ParameterError, UsageError
from plait.model.graph import Graph
from plait.model.ids import RunId
from plait.model.partitions import RANGE
from plait.model.wire import PARTITION_KEYS
from plait.ports import ResultStore
from plait.runtime.partitioned import mapped_extra
from plait.runtime.run_request import RunRequest
from plait.worker.arguments import STORED_PARAMS, complete_params, with_defaults
from plait.worker.asking import ask_here


def logical_text(graph: Graph, params: Mapping[str, Any], now: float) -> str | None:
    """The logical date of a run that nobody gave one, where a parameter is about it: its value if given, else now."""
    sources = [param.name for param in graph.params if param.source == "logical_date"]
    if not sources:
        return None
    given = next((params[name] for name in sources if name in params), None)
    if isinstance(given, (date, datetime)):  # a datetime is a date, too
        return given.isoformat()
    if isinstance(given, str):
        try:
            datetime.fromisoformat(given)
        except ValueError:  # not a date: what is wrong with it is told when it is validated
            given = None
        else:
            return given
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(now))


def given_partition(graph: Graph, params: Mapping[str, Any]) -> str | None:
    """The partition that a parameter says which stands for it."""
    names = [param.name for param in graph.params if param.source == "partition_key"]
    return next((params[name] for name in names if isinstance(params.get(name), str)), None)


def request_of(
    workflow: Workflow,
    params: Mapping[str, Any],
    run_id: RunId,
    results: ResultStore,
    now: float,
    *,
    date: str | None = None,
    partition: str | None = None,
) -> tuple[RunRequest, dict[str, Any]]:
    """What it takes to make a run of a workflow with these parameters, and their values. Raises ParameterError that
    names the parameter which is wrong."""
    live = workflow.live
    partition = partition or given_partition(live.graph, params)
    date = date or logical_text(live.graph, params, now)
    values = complete_params(live.graph, workflow.fn, params, date, partition)
    plain, stored = split_params(workflow.fn, live.graph.name, values, run_id, results)
    request = RunRequest(
        graph=live.graph,
        params=plain,
        lengths=live.graph.lengths_of(with_defaults(workflow.fn, values)),
        logical_date=date,
        partition=partition,
        tags=live.graph.tags,
        extra=stored,
        run_id=run_id,
    )
    return request, values


def assets_request(
    definitions: Definitions,
    live: LiveGraph,
    select: str | None,
    run_id: RunId,
    partition: str | None,
    now: float,
    dynamic: DynamicKeys | None = None,
) -> RunRequest:
    """What it takes to make a run that materializes a selection of assets, whose graph is `live`; custom mappings of
    partitions are asked in this process. Raises ParameterError for a wrong partition, UsageError when there is nothing
    to make. What was selected is kept as keys: the same expression may mean others when the run is resumed."""
    keys = assets_of(live.graph)
    if not live.graph.nodes:
        raise UsageError(
            f"nothing is to be made: {select or 'all'} selects no asset that a function here makes or observes",
            right="plait assets list   # shows what there is",
        )
    definitions.check_partition(keys, partition, dynamic)
    extra: dict[str, Any] = {
        "assets": keys if select is not None else None,
        **range_extra(live.graph, partition, dynamic),
        **mapped_extra(live.graph, partition, now, dynamic, Answers(ask_here)),
    }
    return RunRequest(graph=live.graph, partition=partition, extra=extra, run_id=run_id)


def range_extra(graph: Graph, partition: str | None, dynamic: DynamicKeys | None) -> dict[str, Any]:
    """What a run over a range of partitions has to know besides: their keys, where only a store has them."""
    if partition is None or RANGE not in partition or dynamic is None:
        return {}
    specs = (spec for node in graph.nodes if (spec := node.metadata.get("partitions")) is not None)
    slices = next((edges.slices_of(spec) for spec in specs), None)
    if slices is None or not has_dynamic(slices):
        return {}
    space = space_of(slices, dynamic)
    return {PARTITION_KEYS: [space.key(no) for no in parse(space, partition)]}


def assets_of(graph: Graph) -> list[str]:
    """The keys of the assets that the nodes of a graph make or observe."""
    return [output.asset for node in graph.nodes for output in node.outputs if output.asset is not None]


def split_params(
    fn: Callable[..., Any], name: str, values: Mapping[str, Any], run_id: RunId, results: ResultStore
) -> tuple[bytes, dict[str, Any]]:
    """The parameters as JSON, and what to keep in the run's `extra` of those of which JSON is not the whole truth.

    What cannot be stored at all is there as long as this process is.
    """
    plain: dict[str, Any] = {}
    stored: dict[str, Any] = {}
    for key, value in values.items():
        as_data = to_plain(value)
        if is_plain(as_data):
            plain[key] = as_data
            if _comes_back(fn, name, key, value, as_data):
                continue
        try:
            stored[key] = msgspec.to_builtins(results.put(value, f"{run_id}/params/{key}"))
        except TypeError:  # a connection, a lock: only tasks of this process can have it
            continue
    return msgspec.json.encode(plain), {STORED_PARAMS: stored} if stored else {}


def _comes_back(fn: Callable[..., Any], name: str, key: str, value: Any, as_data: Any) -> bool:
    """Whether JSON, read as the annotation wants it, gives the same value again."""
    try:
        again = validate(fn, {key: msgspec.json.decode(msgspec.json.encode(as_data))}, name)[key]
        return type(again) is type(value) and bool(again == value)
    except (ParameterError, TypeError, ValueError, msgspec.MsgspecError):  # an array has no single truth
        return False
