"""A graph together with what is not plain data: its functions and the literals that stayed in code."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from plait.authoring.task import Task
from plait.model.graph import Graph


@dataclass
class LiveNode:
    """What a worker needs of a node besides its spec: the function to call, and the task's policies that are code."""

    fn: Callable[..., Any]
    task: Task[..., Any] | None = None
    literals: dict[str, Any] = field(default_factory=dict[str, Any])
    positional: int = 0
    hooks: dict[str, Callable[..., Any]] = field(default_factory=dict[str, Callable[..., Any]])


@dataclass
class LiveGraph:
    """A graph and its live nodes by key."""

    graph: Graph
    nodes: dict[str, LiveNode]
    literals: dict[str, Any] = field(default_factory=dict[str, Any])
    params_of: Callable[..., Any] | None = None
