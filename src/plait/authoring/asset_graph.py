"""From what users define to an asset graph, and to the graph of a run with its functions."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from plait.authoring.asset import Definition
from plait.authoring.checks import Check
from plait.authoring.io import IOManager
from plait.authoring.live import LiveGraph, LiveNode
from plait.authoring.where import head_of
from plait.engine.assets import jobs
from plait.engine.assets.index import AssetIndex
from plait.model.assets import AssetDep, AssetGraph, AssetKind, AssetSpec, CheckSpec
from plait.model.errors import DefinitionError
from plait.model.graph import Binding, FromAsset, FromContext, TaskSpec

Assets = Mapping[str, Definition]
"""Who defines each asset, by key."""


def asset_graph(assets: Assets, checks: Iterable[Check[..., Any]], *, strict: bool = True) -> AssetGraph:
    """The asset graph of these definitions. Raises DefinitionError for what is made from something that is not among
    them; where not `strict`, that may be defined elsewhere."""
    specs: list[AssetSpec] = []
    steps: list[TaskSpec] = []
    together: list[str] = []
    for made in _definitions(assets):
        inputs = _inputs(made, made.task.signature, assets, strict) if made.task is not None else {}
        loaded = tuple(binding.key for binding in inputs.values() if isinstance(binding, FromAsset))
        specs.extend(_with_inputs(made, spec, loaded, assets, strict) for spec in made.specs)
        if made.task is not None:
            runner = "observe" if made.specs[0].kind is AssetKind.OBSERVED else "asset"
            steps.append(replace(made.task.spec, key=made.step, runner=runner, inputs=inputs))
            if len(made.specs) > 1 and not made.subset:
                together.append(made.step)
    found = tuple(_check(each, assets, strict) for each in checks if not strict or each.asset in assets)
    return AssetGraph(assets=tuple(specs), steps=tuple(steps), checks=found, together=tuple(together))


def live_job(
    index: AssetIndex, assets: Assets, checks: Iterable[Check[..., Any]], selected: Sequence[str], name: str
) -> LiveGraph:
    """The graph that makes `selected`, with its functions. What is not selected is read as it was last materialized."""
    try:
        graph = jobs.plan(index, selected, name)
    except DefinitionError as error:
        made = next((made for made in _definitions(assets) if made.place == error.where), None)
        if made is not None and made.fn is not None:
            error.wrong = head_of(made.fn)
        raise
    wanted = {node.key for node in graph.nodes}
    nodes = {
        made.step: LiveNode(made.fn, made.task)
        for made in _definitions(assets)
        if made.fn is not None and made.step in wanted
    }
    nodes.update((each.key, LiveNode(each.fn)) for each in checks if each.key in wanted)
    return LiveGraph(graph=graph, nodes=nodes, ios=managers(assets), externals=_externals(index))


def managers(assets: Assets) -> dict[str, IOManager]:
    """The IO managers of all assets that have one, by key."""
    return {key: made.ios[key] for key, made in assets.items() if key in made.ios}


def _externals(index: AssetIndex) -> dict[str, AssetSpec]:
    """The assets that have values without a materialization of ours."""
    return {key: spec for key, spec in index.specs.items() if spec.kind is not AssetKind.MADE and spec.io is not None}


def _definitions(assets: Assets) -> Iterable[Definition]:
    """Each definition once, in order."""
    return {id(made): made for made in assets.values()}.values()


def _inputs(
    made: Definition | Check[..., Any], signature: inspect.Signature, assets: Assets, strict: bool
) -> dict[str, Binding]:
    """What the function's parameters are bound to. One with a default is only an asset if there is such an asset."""
    inputs: dict[str, Binding] = {}
    for name, parameter in signature.parameters.items():
        has_default = parameter.default is not inspect.Parameter.empty
        if name == "context":
            inputs[name] = FromContext(name="context")
        elif name in assets or (not strict and not has_default):
            inputs[name] = FromAsset(key=name)
        elif not has_default:
            assert made.fn is not None  # it has a signature
            raise _unknown(made, name, assets, head_of(made.fn))
    return inputs


def _with_inputs(made: Definition, spec: AssetSpec, loaded: tuple[str, ...], assets: Assets, strict: bool) -> AssetSpec:
    """A spec with what the function takes before what it says itself; an `Out` that says so has its own only."""
    own = {dep.key: dep for dep in spec.deps}
    for key in own:
        if strict and key not in assets:
            raise _unknown(made, key, assets, f'deps=["{key}"]')
    said = bool(spec.deps) and len(made.specs) > 1
    taken = () if said else (own.pop(key, AssetDep(key=key)) for key in loaded)
    return replace(spec, deps=(*taken, *own.values()))


def _check(each: Check[..., Any], assets: Assets, strict: bool) -> CheckSpec:
    step = TaskSpec(key=each.key, runner="check", inputs=_inputs(each, each.signature, assets, strict))
    return CheckSpec(
        asset=each.asset,
        name=each.name,
        step=step,
        blocking=each.blocking,
        severity=each.severity,
        doc=(each.fn.__doc__ or "").strip(),
        place=each.place,
    )


def _unknown(made: Definition | Check[..., Any], name: str, assets: Assets, wrong: str) -> DefinitionError:
    known = ", ".join(sorted(assets)) or "none"
    key = made.key if isinstance(made, Check) else made.specs[0].key
    return DefinitionError(
        f"{key!r} is made from {name!r}, which is not an asset here",
        where=made.place,
        wrong=wrong,
        right=f"name one of the assets: {known}; or `context` for the run's context",
    )
