"""plait: one workflow engine for DAGs of tasks, plain-Python flows and data assets.

from plait import task, flow

@task(retries=3)
def extract(day): ...

@flow
def pipeline(day):
    return extract(day)

pipeline("2013-01-01")          # runs at once, recorded in .plait/
"""

import sys
from typing import TYPE_CHECKING, Any

from plait._version import __version__
from plait.authoring import scope as _scope

if TYPE_CHECKING:
    from plait.authoring.asset import (
        Asset,
        ExternalAsset,
        MultiAsset,
        Out,
        asset,
        external,
        fresh,
        multi_asset,
        observe,
    )
    from plait.authoring.automation import eager, on_cron, on_missing, when
    from plait.authoring.checks import Check, CheckResult, check
    from plait.authoring.context import AssetUpdate, Context, PublishedEvent, context
    from plait.authoring.dag import Dag, Group, dag, group
    from plait.authoring.flow import Flow, flow
    from plait.authoring.futures import Future, FutureList
    from plait.authoring.io import IOContext, IOManager
    from plait.authoring.io_files import DuckDBTables, Files, JsonFiles, ParquetFiles, PickleFiles
    from plait.authoring.limits import Limit, limit, pool
    from plait.authoring.markers import logical_date, partition_key, unmapped
    from plait.authoring.materializing import materialize
    from plait.authoring.partitions import (
        PartitionMapping,
        Partitions,
        daily,
        dynamic,
        hourly,
        monthly,
        multi,
        static,
        weekly,
        windows,
    )
    from plait.authoring.publishing import publish
    from plait.authoring.retry import Retry
    from plait.authoring.schedules import Schedule, cron, event, every, on_dates, rrule, updated
    from plait.authoring.signals import Fail, LookAgain, RetryAfter, Skip, TaskCancelled
    from plait.authoring.task import Cache, Task, task
    from plait.authoring.transactions import transaction
    from plait.authoring.triggers import Trigger, file_exists, run_finished, trigger
    from plait.authoring.waits import answer, ask, wait_for
    from plait.model.errors import (
        DefinitionError,
        LoadError,
        ParameterError,
        PlaitError,
        TaskFailed,
        TriggerFailed,
        Unfinished,
        UsageError,
        UserError,
        WaitTimeout,
    )

_PUBLIC = {
    "asset": ("Asset", "ExternalAsset", "MultiAsset", "Out", "asset", "external", "fresh", "multi_asset", "observe"),
    "automation": ("eager", "on_cron", "on_missing", "when"),
    "checks": ("Check", "CheckResult", "check"),
    "context": ("AssetUpdate", "Context", "PublishedEvent", "context"),
    "dag": ("Dag", "Group", "dag", "group"),
    "flow": ("Flow", "flow"),
    "futures": ("Future", "FutureList"),
    "io": ("IOContext", "IOManager"),
    "io_files": ("DuckDBTables", "Files", "JsonFiles", "ParquetFiles", "PickleFiles"),
    "limits": ("Limit", "limit", "pool"),
    "markers": ("logical_date", "partition_key", "unmapped"),
    "materializing": ("materialize",),
    "partitions": (
        "PartitionMapping",
        "Partitions",
        "daily",
        "dynamic",
        "hourly",
        "monthly",
        "multi",
        "static",
        "weekly",
        "windows",
    ),
    "publishing": ("publish",),
    "retry": ("Retry",),
    "schedules": ("Schedule", "cron", "event", "every", "on_dates", "rrule", "updated"),
    "signals": ("Fail", "LookAgain", "RetryAfter", "Skip", "TaskCancelled"),
    "task": ("Cache", "Task", "task"),
    "transactions": ("transaction",),
    "triggers": ("Trigger", "file_exists", "run_finished", "trigger"),
    "waits": ("answer", "ask", "wait_for"),
}
_ERRORS = (
    "DefinitionError", "LoadError", "ParameterError", "PlaitError", "TaskFailed", "TriggerFailed", "Unfinished",
    "UsageError", "UserError", "WaitTimeout",
)  # fmt: skip
_WHERE = {name: f"plait.authoring.{module}" for module, names in _PUBLIC.items() for name in names}
_WHERE.update(dict.fromkeys(_ERRORS, "plait.model.errors"))

__all__ = [
    "Asset", "AssetUpdate", "Cache", "Check", "CheckResult", "Context", "Dag", "DefinitionError", "DuckDBTables",
    "ExternalAsset", "Fail", "Files", "Flow", "Future", "FutureList", "Group", "IOContext", "IOManager", "JsonFiles",
    "Limit", "LoadError", "LookAgain", "MultiAsset", "Out", "ParameterError", "ParquetFiles", "PartitionMapping",
    "Partitions", "PickleFiles", "PlaitError", "PublishedEvent", "Retry", "RetryAfter", "Schedule", "Skip", "Task",
    "TaskCancelled", "TaskFailed", "Trigger", "TriggerFailed", "Unfinished", "UsageError", "UserError", "WaitTimeout",
    "__version__", "answer", "ask", "asset", "check", "context", "cron", "dag", "daily", "dynamic", "eager", "event",
    "every", "external", "file_exists", "flow", "fresh", "group", "hourly", "limit", "logical_date", "materialize",
    "monthly", "multi", "multi_asset", "observe", "on_cron", "on_dates", "on_missing", "partition_key", "pool",
    "publish", "rrule", "run_finished", "static", "task", "transaction", "trigger", "unmapped", "updated", "wait_for",
    "weekly", "when", "windows",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load a name on first use, so that `import plait` costs next to nothing."""
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module 'plait' has no attribute {name!r}")
    if sys.platform == "win32":
        raise ImportError(
            "plait runs on Linux and macOS; on Windows, use it in WSL: https://learn.microsoft.com/windows/wsl"
        )
    import importlib

    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """What people complete to: the public names, loaded or not."""
    return sorted(__all__)


def _engine() -> _scope.Engine:
    from plait.bootstrap import default_session

    return default_session()


_scope.provide_engine(_engine)
