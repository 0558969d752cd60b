"""Compiled graphs: made once a version, as long as there is room for them."""

from collections import OrderedDict

from plait.engine.plan import Plan
from plait.model.graph import Graph

MOST_PLANS = 1000
"""Compiled graphs that are kept; one that is needed again is compiled again."""


class Plans:
    """The compiled graphs of one scheduler."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Plan] = OrderedDict()

    def known(self, graph_hash: str) -> Plan | None:
        """The compiled graph of that hash, if it is kept."""
        return self._kept.get(graph_hash)

    def of(self, graph_hash: str, graph: Graph) -> Plan:
        """The compiled graph, made once a version."""
        plan = self._kept.get(graph_hash)
        if plan is None:
            plan = self._kept[graph_hash] = Plan(graph)
            if len(self._kept) > MOST_PLANS:
                self._kept.popitem(last=False)
        return plan
