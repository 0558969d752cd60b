"""A task's cache: looked up and written in the worker, where the input values are. Records lie in the result store."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from plait.authoring.task import Task
from plait.model.outcome import Outcome
from plait.model.policies import Value
from plait.ports import ResultStore
from plait.worker.fingerprint import Unhashable, cache_key, source_of

DAY = 86400.0


class CacheRecord(Value):
    """What is cached: the outcome of the call, until when (epoch seconds) it is good, and when it was used last, to a
    day."""

    outcome: Outcome
    expires_at: float | None = None
    used_at: float = 0.0


def key_of(task: Task[Any, Any] | None, inputs: Mapping[str, Any], run_id: str) -> str | None:
    """The cache key of a call, none when the task is not cached or its inputs have no fingerprint."""
    if task is None or task.options_.cache is None:
        return None
    cache = task.options_.cache
    if cache.key is not None:
        own = cache.key(task.name, dict(inputs))
        return None if own is None else cache_key(task.name, {}, {"own": own})
    parts: dict[str, Any] = {}
    if cache.source:
        parts["source"] = source_of(task.fn)
    if cache.run:
        parts["run"] = run_id
    chosen = {name: value for name, value in inputs.items() if name not in cache.exclude} if cache.inputs else {}
    try:
        return cache_key(task.name, chosen, parts)
    except Unhashable:
        return None


def look_up(results: ResultStore, key: str, clock: Callable[[], float] = time.time) -> Outcome | None:
    """The outcome that is cached under a key and still good."""
    data = results.read_record(f"cache/{key}")
    if data is None:
        return None
    try:
        record = msgspec.json.decode(data, type=CacheRecord)
    except msgspec.DecodeError:  # of another version of plait: it is made anew
        return None
    now = clock()
    if record.expires_at is not None and record.expires_at <= now:
        return None
    if now - record.used_at > DAY:  # what is used does not get old: see `prune`
        results.write_record(f"cache/{key}", msgspec.json.encode(replace(record, used_at=now)))
    return record.outcome


def remember(
    results: ResultStore,
    key: str,
    task: Task[Any, Any],
    outcome: Outcome,
    clock: Callable[[], float] = time.time,
) -> None:
    """Cache the outcome of a call."""
    policy = task.spec.cache
    now = clock()
    expires = now + policy.expires if policy is not None and policy.expires is not None else None
    record = CacheRecord(outcome=outcome, expires_at=expires, used_at=now)
    results.write_record(f"cache/{key}", msgspec.json.encode(record))


def prune(results: ResultStore, unused_since: float, limit: int) -> int:
    """Delete at most `limit` of what is cached and was not used since then; returns how many were looked at.

    What an asset's step made stays: an asset may be made of it for as long as it is as it is.
    """
    names = results.old_records("cache", unused_since - DAY, limit)  # for a day, uses are not written down
    for name in names:
        data = results.read_record(name)
        try:
            makes_assets = data is not None and bool(msgspec.json.decode(data, type=CacheRecord).outcome.assets)
        except msgspec.DecodeError:  # of another version of plait, which nobody uses
            makes_assets = False
        if makes_assets and data is not None:
            results.write_record(name, data)  # it is looked at again when it is as old again
        else:
            results.delete([name, f"cached/{name.removeprefix('cache/')}"])
    return len(names)


def result_name(key: str, run_id: str, no: int, token: int, output: str) -> str:
    """Where a cached output lies: not with its run, which may be deleted long before."""
    return f"cached/{key}/{run_id}-{no}-{token}/{output}"
