"""Asset graphs, written short."""

import itertools
from typing import Any

from plait.engine.assets.index import AssetIndex
from plait.model.assets import AssetDep, AssetGraph, AssetKind, AssetSpec
from plait.model.graph import FromAsset, OutputSpec, TaskSpec
from plait.model.rows import AssetRow


def spec(key: str, *upstream: str, **more: Any) -> AssetSpec:
    """An asset that a step of its own makes."""
    deps = tuple(AssetDep(key=each) for each in upstream)
    step = "" if more.get("kind") is AssetKind.EXTERNAL else key
    return AssetSpec(**{"key": key, "deps": deps, "step": step, **more})


def graph(*specs: AssetSpec, **more: Any) -> AssetGraph:
    """Assets with their steps."""
    steps: dict[str, TaskSpec] = {}
    for each in specs:
        if each.step:
            outputs = tuple(OutputSpec(name=s.output, asset=s.key) for s in specs if s.step == each.step)
            inputs = {key: FromAsset(key=key) for s in specs if s.step == each.step for key in s.upstream}
            runner = "observe" if each.kind is AssetKind.OBSERVED else "asset"
            steps.setdefault(each.step, TaskSpec(key=each.step, runner=runner, outputs=outputs, inputs=inputs))
    return AssetGraph(assets=specs, steps=tuple(steps.values()), **more)


def index(*specs: AssetSpec, **more: Any) -> AssetIndex:
    """The same, to be asked."""
    return AssetIndex(graph(*specs, **more))


def chain(text: str, **more: Any) -> AssetIndex:
    """`a > b > c` and, after semicolons, more of it."""
    above: dict[str, list[str]] = {}
    for line in text.split(";"):
        keys = [key.strip() for key in line.split(">")]
        for key in keys:
            above.setdefault(key, [])
        for up, down in itertools.pairwise(keys):
            above[down].append(up)
    return index(*(spec(key, *upstream, **more) for key, upstream in above.items()))


def row(key: str, version: str | None = None, *, at: float = 1.0, **more: Any) -> AssetRow:
    """A materialization."""
    return AssetRow(**{"key": key, "partition": "", "run_id": "r", "no": 0, "at": at, "data_version": version, **more})
