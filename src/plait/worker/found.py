"""What files define, as plain data that can cross a process: workflows, assets, and what is wrong with them."""

import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from plait.authoring.asset import Definition
from plait.authoring.asset_graph import asset_graph
from plait.authoring.definitions import Definitions, Workflow
from plait.authoring.limits import declared
from plait.authoring.where import frames_of_user
from plait.engine import conditions
from plait.engine.assets.index import merged
from plait.engine.partitions.answers import Said
from plait.engine.schedule_specs import describe, parse
from plait.model.assets import AssetGraph, AssetSpec
from plait.model.errors import UserError
from plait.model.graph import Graph
from plait.model.rows import LimitRow
from plait.worker.loading import files_of, load_file

OWN_FOLDER = str(Path(__file__).resolve().parent.parent)
"""Where plait itself lies: its frames are no news to users."""
_MOST_WARNINGS = 5


class Problem(msgspec.Struct, kw_only=True, frozen=True):
    """Why a file does not load: `error` says what happened and where; `traceback` is that of the user's code, if there
    is one."""

    file: str
    error: str
    traceback: str = ""


class FoundWorkflow(msgspec.Struct, kw_only=True):
    """A dag or a flow. `file` is where it is defined, `place` with the line; `tasks` is none where the body decides;
    `waits_for` are the assets of whose updates it starts."""

    name: str
    kind: str
    file: str
    place: str
    schedule: str = ""
    tasks: int | None = None
    doc: str = ""
    graph: Graph | None = None
    waits_for: tuple[str, ...] = ()


class FoundAsset(msgspec.Struct, kw_only=True):
    """An asset. `upstream` are the keys that it is made from."""

    key: str
    file: str
    place: str
    kind: str = "made"
    group: str = ""
    partitions: str = ""
    upstream: tuple[str, ...] = ()
    doc: str = ""


class Found(msgspec.Struct, kw_only=True):
    """What one file, or a whole target, defines. `files` are those that were looked at.

    `defined` is the graph of all assets; `asset_graph` the run that materializes all of them (or those that were
    selected). `asset_problems` are about assets that do not fit together; with other files beside them they may.
    `limits` are the pools and limits that they declare; `said` is what a function answered that was asked.
    """

    files: list[str] = []
    workflows: list[FoundWorkflow] = []
    assets: list[FoundAsset] = []
    errors: list[Problem] = []
    asset_problems: list[Problem] = []
    warnings: list[str] = []
    defined: AssetGraph = AssetGraph()
    asset_graph: Graph | None = None
    limits: list[LimitRow] = []
    said: Said | None = None


def look_at(
    files: Sequence[Path], *, module: str | None = None, graphs: bool = False, select: str | None = None
) -> Found:
    """Load these files in this process, and describe what they define. Nothing that user code raises gets out."""
    found = Found(files=[str(file) for file in files])
    definitions = Definitions()
    before = dict(declared)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for file in files:
            try:
                load_file(file, definitions, module_name=module)
            except BaseException as error:  # noqa: BLE001  a file may raise anything: it is told, whatever it is
                found.errors.append(problem(error, str(file)))
        for workflow in definitions.workflows.values():
            _describe_workflow(workflow, definitions, found, graphs)
        _describe_assets(definitions, found, graphs, select)
    found.limits = [limit.row() for key, limit in declared.items() if before.get(key) is not limit]
    shown = [each for each in caught if issubclass(each.category, UserWarning)][:_MOST_WARNINGS]
    found.warnings = [f"{each.filename}:{each.lineno}: {each.message}" for each in shown]
    return found


def look_up(module: str) -> Found:
    """The files of a module. Finding one imports the packages around it, so this belongs in a child, too."""
    try:
        return Found(files=[str(file) for file in files_of(module)])
    except BaseException as error:  # noqa: BLE001  as above
        return Found(errors=[problem(error, module)])


def problem(error: BaseException, file: str) -> Problem:
    """What is wrong with a file, for people."""
    cause = error.__cause__ if isinstance(error, UserError) else error
    where = frames_of_user(cause or error)
    if isinstance(error, UserError):
        if where and (error.where is None or error.where == file):  # a whole file is no place
            error.where = where
        return Problem(file=file, error=str(error), traceback=_traceback(cause))
    last = traceback.format_exception_only(error)[-1].strip()
    return Problem(
        file=file, error=f"{Path(file).name} does not load: {last}\n  at {where or file}", traceback=_traceback(error)
    )


def _traceback(error: BaseException | None) -> str:
    """The user's frames of a traceback."""
    if error is None or error.__traceback__ is None:
        return ""
    told = traceback.TracebackException.from_exception(error)
    frames = [frame for frame in told.stack if not frame.filename.startswith((OWN_FOLDER, "<frozen"))]
    told.stack = traceback.StackSummary.from_list(frames)
    return "".join(told.format(chain=False))


def _describe_workflow(workflow: Workflow, definitions: Definitions, found: Found, graphs: bool) -> None:
    file = _file_of(workflow.place, definitions.files.get(workflow.name, ""), found.files)
    try:
        graph = workflow.graph
    except BaseException as error:  # noqa: BLE001  tracing a dag runs its body
        found.errors.append(_problem_of_body(error, workflow, file))
        return
    found.workflows.append(
        FoundWorkflow(
            name=workflow.name,
            kind=workflow.kind,
            file=file,
            place=workflow.place,
            schedule=schedule_text(graph),
            tasks=len(graph.nodes) if workflow.kind == "dag" else None,
            doc=first_line(graph.doc),
            graph=graph if graphs else None,
            waits_for=tuple(key for trigger in graph.triggers for key in conditions.assets_of(trigger)),
        )
    )


def _problem_of_body(error: BaseException, workflow: Workflow, file: str) -> Problem:
    if isinstance(error, UserError):
        return problem(error, file)
    last = traceback.format_exception_only(error)[-1].strip()
    where = frames_of_user(error) or workflow.place
    what = f"the body of the {workflow.kind} {workflow.name!r} raises while its graph is made: {last}\n  at {where}"
    return Problem(file=file, error=what, traceback=_traceback(error))


def _describe_assets(definitions: Definitions, found: Found, graphs: bool, select: str | None) -> None:
    try:
        found.defined = asset_graph(definitions.assets, definitions.checks, strict=False)
    except BaseException as error:  # noqa: BLE001  a default of a parameter may raise when it is compared
        found.asset_problems.append(problem(error, found.files[0]))
    for spec in found.defined.assets:
        found.assets.append(_describe_asset(spec, definitions.assets[spec.key], definitions, found))
    if not definitions.assets:
        return
    try:
        graph = definitions.asset_job(select, "assets").graph
    except BaseException as error:  # noqa: BLE001  as above
        at = getattr(error, "where", None) or found.assets[0].place
        found.asset_problems.append(problem(error, _file_of(at, found.assets[0].file, found.files)))
    else:
        found.asset_graph = graph if graphs else None


def _describe_asset(spec: AssetSpec, made: Definition, definitions: Definitions, found: Found) -> FoundAsset:
    return FoundAsset(
        key=spec.key,
        file=_file_of(spec.place, definitions.files.get(f"asset:{spec.key}", ""), found.files),
        place=spec.place,
        kind=spec.kind.value,
        group=spec.group,
        partitions=made.partitions.kind if made.partitions is not None else "",
        upstream=spec.upstream,
        doc=first_line(spec.doc),
    )


def _file_of(place: str, loaded: str, files: Sequence[str]) -> str:
    """The file of a definition: where its code stands, if that is one of the files; else the one that holds its
    name."""
    code = place.rpartition(":")[0]
    return code if code in files else loaded or code


def first_line(text: str) -> str:
    """The first line of a docstring."""
    return text.strip().partition("\n")[0]


def schedule_text(graph: Graph) -> str:
    """When a workflow runs, for people."""
    return ", ".join(trigger_text(trigger.kind, trigger.spec) for trigger in graph.triggers)


def trigger_text(kind: str, spec: dict[str, Any]) -> str:
    """When one trigger fires, for people."""
    return describe(parse(kind, spec))


def merge(parts: Sequence[Found]) -> Found:
    """What the files of a target define together. One that several files import counts once, as defined where its code
    stands.

    A name that two files use for different things is a warning: each file is good for itself.
    """
    whole = Found(files=[file for part in parts for file in part.files])
    seen: dict[tuple[str, str], list[str]] = {}
    for part in parts:
        whole.errors += part.errors
        whole.asset_problems += part.asset_problems
        whole.limits += part.limits
        whole.warnings += [text for text in part.warnings if text not in whole.warnings]
        for workflow in part.workflows:
            if _is_new("workflows have the name", workflow.name, workflow, whole, seen):
                whole.workflows.append(workflow)
        for asset in part.assets:
            if _is_new("assets have the key", asset.key, asset, whole, seen):
                whole.assets.append(asset)
    whole.defined = _merged(parts, whole)
    if len(parts) == 1:
        whole.asset_graph = parts[0].asset_graph
    return whole


def _merged(parts: Sequence[Found], whole: Found) -> AssetGraph:
    """The assets of all files; of two with one key the first one, as is said."""
    taken = {asset.key: asset.place for asset in whole.assets}
    graphs = [
        structs.replace(
            part.defined, assets=tuple(spec for spec in part.defined.assets if taken.get(spec.key) == spec.place)
        )
        for part in parts
    ]
    return merged(graphs)


def _is_new(
    what: str, name: str, one: FoundWorkflow | FoundAsset, whole: Found, seen: dict[tuple[str, str], list[str]]
) -> bool:
    one.file = _file_of(one.place, one.file, whole.files)
    places = seen.setdefault((what, name), [])
    if one.place in places:
        return False
    if places:
        whole.warnings.append(f"{one.place}: two {what} {name!r}; the other is at {places[0]}")
    places.append(one.place)
    return True
