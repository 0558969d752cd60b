"""Loading definitions: a file, a folder or a module becomes `Definitions`. Loading is not running.

While a file is loaded, a flow that it calls at module level does not run: the call returns None with a warning. The
file's folder is on `sys.path`, so that it can import what lies beside it. A module is loaded once a process, under a
name made from its path.
"""

import hashlib
import importlib
import importlib.util
import sys
import traceback
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from plait.authoring.definitions import Definitions
from plait.authoring.scope import in_scope
from plait.authoring.where import frames_of_user, here
from plait.model.errors import DefinitionError, LoadError, UsageError, UserError

SKIPPED_FOLDERS = {"__pycache__", "node_modules", "site-packages", "venv"}
_loaded: dict[str, Definitions] = {}


class Loading:
    """The scope while a file is loaded: workflows that it calls do not run."""

    def call(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A flow or a dag is called at module level: it does not run now. A task's call is a plain call."""
        if not hasattr(callee, "kind"):
            with in_scope(None):
                return callee.fn(*args, **kwargs)
        warnings.warn(
            f"{callee.name!r} is called at module level; while the file is loaded it does not run (plait run runs it)",
            stacklevel=3,
        )
        return None

    def submit(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A submit at module level has nobody to run it."""
        where, wrong = here()
        raise DefinitionError(
            f"{callee.name}.submit() is called while its file is loaded, so there is nobody to run it",
            where=where,
            wrong=wrong,
            right="call it in a function with @flow",
        )

    def map(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any], how: str) -> Any:
        """Likewise."""
        return self.submit(callee, args, kwargs)


def files_of(target: str) -> list[Path]:
    """The Python files that a target means: itself, or all below a folder (hidden ones and environments left out)."""
    path = Path(target)
    if path.is_file():
        return [path.resolve()]
    if path.is_dir():
        return sorted(
            file.resolve()
            for file in path.rglob("*.py")
            if not any(part.startswith(".") or part in SKIPPED_FOLDERS for part in file.relative_to(path).parts[:-1])
            and not file.name.startswith((".", "__init__"))
            and not any((parent / "pyvenv.cfg").exists() for parent in file.parents if parent != path.parent)
        )
    if target.endswith(".py") or "/" in target:
        raise UsageError(f"there is no file or folder {target!r}")
    spec = _find_module(target)
    if spec is None or spec.origin is None:
        raise UsageError(f"there is no file, folder or module {target!r}")
    return [Path(spec.origin)]


def _find_module(name: str) -> Any:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None


def load_target(target: str, *, validate: bool = True) -> Definitions:
    """All definitions of a target. The first file that does not load raises LoadError with its place."""
    key = str(Path(target).resolve()) if Path(target).exists() else target
    known = _loaded.get(key)
    if known is None:
        known = Definitions()
        for file in files_of(target):
            load_file(file, known, module_name=None if Path(target).exists() else target)
        _loaded[key] = known
    if validate:
        known.validate()
    return known


def load_file(file: Path, into: Definitions | None = None, *, module_name: str | None = None) -> Definitions:
    """Load one file and add what it defines. Raises LoadError (or the DefinitionError in it) with file and line."""
    found = into if into is not None else Definitions()
    name = module_name or module_name_of(file)
    module = sys.modules.get(name)
    if module is None:
        module = _execute(file, name, by_name=module_name is not None)
    found.add_module(module, str(file))
    return found


def module_name_of(file: Path) -> str:
    """The name under which a file is imported: its own, with a hash of its folder where another file has that name."""
    folder = str(file.parent)
    known = sys.modules.get(file.stem)
    if known is None and file.stem.isidentifier() and not _is_known_elsewhere(file):
        return file.stem
    if known is not None and getattr(known, "__file__", None) == str(file):
        return file.stem
    digest = hashlib.blake2b(folder.encode(), digest_size=4).hexdigest()
    return f"{file.stem.replace('-', '_').replace('.', '_')}_{digest}"


def _is_known_elsewhere(file: Path) -> bool:
    """Whether the file's plain name would shadow an installed or standard module."""
    if file.stem in sys.stdlib_module_names:
        return True
    try:
        spec = importlib.util.find_spec(file.stem)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin != str(file)


def _execute(file: Path, name: str, *, by_name: bool) -> ModuleType:
    folder = str(file.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        with in_scope(Loading()):
            if by_name:
                return importlib.import_module(name)
            spec = importlib.util.spec_from_file_location(name, file)
            assert spec is not None  # a .py file always has one
            assert spec.loader is not None  # and the other
            module = importlib.util.module_from_spec(spec)
            vars(module)["__plait_loaded__"] = True  # workers load it under the same name
            sys.modules[name] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                sys.modules.pop(name, None)
                raise
            return module
    except UserError:
        raise
    except SystemExit as error:
        raise LoadError(f"{file.name} exits while it is loaded (SystemExit: {error.code})", where=str(file)) from error
    except Exception as error:
        raise LoadError(_explain(error, file), where=_place(error, file)) from error


def _explain(error: Exception, file: Path) -> str:
    if isinstance(error, SyntaxError):
        return f"{file.name} does not load: SyntaxError: {error.msg}"
    last = traceback.format_exception_only(error)[-1].strip()
    return f"{file.name} does not load: {last}"


def _place(error: Exception, file: Path) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f"{error.filename or file}:{error.lineno}"
    frame = error.__traceback__
    place = str(file)
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == str(file):
            place = f"{file}:{frame.tb_lineno}"
        frame = frame.tb_next
    return place if place != str(file) else frames_of_user(error) or place
