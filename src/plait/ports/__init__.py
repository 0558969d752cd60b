"""The ports: what the shells need of the world, one Protocol per need. Adapters implement them, the shells never look
behind.

Everything is synchronous and thread-safe unless its docstring says otherwise. Times are epoch seconds (UTC).
"""

from plait.ports.clock import Clock, IdSource
from plait.ports.definition_store import DefinitionStore
from plait.ports.execution import Capabilities, Capture, Executor, Kill, ReportSink, Runner
from plait.ports.partition_store import PartitionStore
from plait.ports.results import Captured, Capturing, LogReader, ResultStore
from plait.ports.signal_store import SignalStore
from plait.ports.store import EventBus, RunBatch, RunSnapshot, RunStore, Transaction
from plait.ports.triggers import Triggerer, TriggerEvent, TriggerSink

__all__ = [
    "Capabilities",
    "Capture",
    "Captured",
    "Capturing",
    "Clock",
    "DefinitionStore",
    "EventBus",
    "Executor",
    "IdSource",
    "Kill",
    "LogReader",
    "PartitionStore",
    "ReportSink",
    "ResultStore",
    "RunBatch",
    "RunSnapshot",
    "RunStore",
    "Runner",
    "SignalStore",
    "Transaction",
    "TriggerEvent",
    "TriggerSink",
    "Triggerer",
]
