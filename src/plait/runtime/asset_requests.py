"""What it takes to make a run that materializes assets. Imported when one is asked for: a script without assets needs
none of their graphs, selections and partitions, which are a tenth of what it costs to start."""

from collections.abc import Sequence
from typing import Any

from plait.authoring.definitions import Definitions
from plait.authoring.live import LiveGraph
from plait.engine.assets import staleness
from plait.engine.partitions import edges
from plait.engine.partitions.answers import Answers
from plait.engine.partitions.spaces import DynamicKeys, has_dynamic, parse, space_of
from plait.model.errors import UsageError
from plait.model.graph import Graph
from plait.model.ids import RunId
from plait.model.partitions import RANGE
from plait.model.wire import PARTITION_KEYS
from plait.ports import RunStore
from plait.runtime.partitioned import mapped_extra
from plait.runtime.run_request import RunRequest
from plait.worker.asking import ask_here


def definitions_of(assets: Sequence[Any]) -> Definitions:
    """These assets and checks alone."""
    definitions = Definitions()
    for made in assets:
        definitions.add(made, getattr(made, "place", ""))
    return definitions


def asset_job(
    definitions: Definitions, select: str | None, store: RunStore, partition: str | None, now: float
) -> LiveGraph:
    """The graph that makes a selection of assets; the store answers what the selection asks of it."""
    index, answers = definitions.asset_index(), Answers(ask_here)
    known = staleness.Known(index, store, partition, now, lambda key: answers)
    return definitions.asset_job(select, "assets", staleness.states(index, known))


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
    answers = Answers(ask_here)
    extra: dict[str, Any] = {
        "assets": keys if select is not None else None,
        **range_extra(live.graph, partition, dynamic),
        **mapped_extra(live.graph, partition, now, dynamic, lambda key: answers),
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
