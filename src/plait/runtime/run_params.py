"""The parameters of a run, as they are kept: plain data as JSON, what JSON would not give back as it was in the
result store; and the logical date and partition that they say."""

import time
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from plait.authoring.params import is_plain, to_plain, validate
from plait.model.errors import ParameterError
from plait.model.graph import Graph
from plait.model.ids import RunId
from plait.ports import ResultStore
from plait.runtime.run_request import RunRequest
from plait.worker.arguments import STORED_PARAMS, complete_params, with_defaults

if TYPE_CHECKING:
    from plait.authoring.definitions import Workflow


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
    workflow: "Workflow",
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
