"""A graph together with what is not plain data: its functions and the literals that stayed in code."""

from collections.abc import Callable
from typing import Any

import msgspec

from plait.authoring.io import IOManager
from plait.authoring.task import Task
from plait.model.assets import AssetSpec
from plait.model.graph import Graph, TaskSpec


class LiveNode(msgspec.Struct):
    """What a worker needs of a node besides its spec: the function to call, the task's policies that are code, the
    literals that are not plain data by their path, and the paths of what it is mapped over."""

    fn: Callable[..., Any]
    task: Task[..., Any] | None = None
    literals: dict[str, Any] = {}
    sources: list[str] = []


class LiveGraph(msgspec.Struct):
    """A graph and its live nodes by key. `fn` is the workflow's function; `hooks` are its own, in order. Of assets:
    `ios` has the IO managers of all that have one, by key; `externals` those of them that somebody else makes."""

    graph: Graph
    nodes: dict[str, LiveNode]
    fn: Callable[..., Any] | None = None
    hooks: tuple[Callable[..., Any], ...] = ()
    index: dict[str, TaskSpec] = {}
    ios: dict[str, IOManager] = {}
    externals: dict[str, AssetSpec] = {}
