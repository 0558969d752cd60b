"""A task's cache: looked up and written in the worker, where the input values are. Records lie in the result store."""

import time
from collections.abc import Callable
from typing import Any

import msgspec

from plait.authoring.task import Task
from plait.model.outcome import Stored
from plait.model.policies import Value
from plait.ports import ResultStore
from plait.worker.fingerprint import Unhashable, cache_key, source_of


class CacheRecord(Value):
    """What is cached: the stored outputs, and until when (epoch seconds) they are good."""

    outputs: dict[str, Stored]
    expires_at: float | None = None


def key_of(task: Task[Any, Any] | None, named: dict[str, Any], run_id: str) -> str | None:
    """The cache key of a call, none when the task is not cached or its inputs have no fingerprint."""
    if task is None or task.options_.cache is None:
        return None
    cache = task.options_.cache
    if cache.key is not None:
        own = cache.key(task.name, named)
        return None if own is None else cache_key(task.name, {}, {"own": own})
    parts: dict[str, Any] = {}
    if cache.source:
        parts["source"] = source_of(task.fn)
    if cache.run:
        parts["run"] = run_id
    inputs = {name: value for name, value in named.items() if name not in cache.exclude} if cache.inputs else {}
    try:
        return cache_key(task.name, inputs, parts)
    except Unhashable:
        return None


def look_up(results: ResultStore, key: str, clock: Callable[[], float] = time.time) -> CacheRecord | None:
    """What is cached under a key and still good."""
    data = results.read_record(f"cache/{key}")
    if data is None:
        return None
    record = msgspec.json.decode(data, type=CacheRecord)
    if record.expires_at is not None and record.expires_at <= clock():
        return None
    return record


def remember(
    results: ResultStore,
    key: str,
    task: Task[Any, Any],
    outputs: dict[str, Stored],
    clock: Callable[[], float] = time.time,
) -> None:
    """Cache the outputs of a call."""
    policy = task.spec.cache
    expires = clock() + policy.expires if policy is not None and policy.expires is not None else None
    results.write_record(f"cache/{key}", msgspec.json.encode(CacheRecord(outputs=outputs, expires_at=expires)))
