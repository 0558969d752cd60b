"""What an execution has to tell of assets: which it materialized or observed, and what its checks came to."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from plait.authoring.context import Context
from plait.model.graph import TaskSpec
from plait.model.hashes import blake2b
from plait.model.outcome import AssetEvent, CheckResult, Outcome
from plait.model.partitions import RANGE
from plait.model.wire import Execution
from plait.worker.fingerprint import fingerprint

if TYPE_CHECKING:
    from plait.authoring.checks import CheckResult as Found


def partition_of(spec: TaskSpec, context: Context) -> str | None:
    """The partition that a step is for, none for assets without."""
    return context.partition if "partitions" in spec.metadata else None


def selected(spec: TaskSpec) -> tuple[str, ...]:
    """The keys of the assets that a step is to make."""
    return tuple(output.asset for output in spec.outputs if output.asset is not None)


def keys_of(spec: TaskSpec, context: Context) -> list[str] | None:
    """The keys of the partitions, where a step is for several; none where it is for one."""
    partition = partition_of(spec, context)
    return context.partition_keys if partition is not None and RANGE in partition else None


def materialized(
    spec: TaskSpec | None, emitted: Mapping[str, Any], context: Context, execution: Execution, told: Mapping[str, Any]
) -> tuple[AssetEvent, ...]:
    """The assets among the outputs. `told`: by output, the metadata that its IO manager gave."""
    if spec is None:
        return ()
    keys = keys_of(spec, context)
    return tuple(
        _event(
            spec,
            output.asset,
            context,
            execution,
            told.get(output.name) or {},
            tuple(keys) if keys is not None and is_by_key(emitted[output.name], keys) else (),
        )
        for output in spec.outputs
        if output.asset is not None and output.name in emitted
    )


def is_by_key(value: Any, keys: Sequence[str]) -> bool:
    """Whether a value has one for each of these partitions."""
    return isinstance(value, dict) and len(value) == len(keys) and set(value) == set(keys)


def _event(
    spec: TaskSpec,
    key: str,
    context: Context,
    execution: Execution,
    told: Mapping[str, Any],
    keys: tuple[str, ...],
) -> AssetEvent:
    about: dict[str, Any] = spec.metadata.get("assets", {}).get(key, {})
    used = {dep: execution.versions[dep] for dep in about.get("deps", ()) if dep in execution.versions}
    inputs = {dep: version for dep, (version, _) in used.items()}
    code_version: str | None = about.get("code_version")
    version = context.data_versions.get(key) or context.data_version
    if version is None and code_version is not None:
        from plait.engine.assets.staleness import version_of  # only assets need it, and it takes 1 ms

        version = version_of(code_version, inputs)
    return AssetEvent(
        key=key,
        partition=partition_of(spec, context),
        keys=keys,
        data_version=version or f"{execution.run.run_id}.{execution.no}.{execution.token}",
        metadata={**told, **context.metadata, **context.asset_metadata.get(key, {})},
        code_version=code_version,
        inputs=inputs,
        data_time=min((at for _, at in used.values()), default=None),
    )


def observed(spec: TaskSpec | None, value: Any, context: Context) -> Outcome:
    """An observation: its value is the data version."""
    if spec is None:
        return Outcome()
    version = value if isinstance(value, str) else _hashed(value)
    events = tuple(
        AssetEvent(
            key=key,
            partition=partition_of(spec, context),
            data_version=version,
            metadata=context.metadata,
            observed=True,
        )
        for key in selected(spec)
    )
    return Outcome(assets=events)


def _hashed(value: Any) -> str | None:
    if value is None:
        return None
    return blake2b(str(fingerprint(value)).encode(), digest_size=8).hexdigest()


def checked(spec: TaskSpec | None, value: Any, context: Context) -> Outcome:
    """What a check found."""
    about: dict[str, Any] = spec.metadata if spec is not None else {}
    from plait.authoring.checks import CheckResult as Found  # only assets need it

    found = value if isinstance(value, Found) else Found(passed=bool(value))
    partition = context.partition if "partitions" in about else None
    asset, blocking = about.get("asset"), about.get("blocking", False)
    result = _result(about.get("check", ""), found, asset, partition, blocking=blocking, severity=about.get("severity"))
    return Outcome(checks=(_with(result, context.metadata),))


def checks_inside(spec: TaskSpec | None, context: Context) -> tuple[CheckResult, ...]:
    """The checks that a step made of its own assets. Raises LookupError for one of another asset."""
    if spec is None or not context.checks:
        return ()
    keys = selected(spec)
    results: list[CheckResult] = []
    for name, asset, found, blocking in context.checks:
        key = asset or (keys[0] if len(keys) == 1 else None)
        if key not in keys:
            right = f'context.add_check("{name}", ..., asset="{keys[0]}")' if keys else "in the function of an asset"
            raise LookupError(f"check {name!r} is of {key!r}, which is not made here: {right}")
        results.append(_result(name, found, key, partition_of(spec, context), blocking=blocking))
    return tuple(results)


def _result(
    name: str, found: "Found", asset: str | None, partition: str | None, *, blocking: bool, severity: str | None = None
) -> CheckResult:
    return CheckResult(
        name=name,
        passed=found.passed,
        severity=found.severity or severity or "error",
        blocking=blocking,
        asset=asset,
        partition=partition,
        description=found.description,
        metadata=dict(found.metadata),
    )


def _with(result: CheckResult, metadata: Mapping[str, Any]) -> CheckResult:
    return replace(result, metadata={**metadata, **result.metadata})
