"""Loading definitions: a file, a folder or a module becomes `Definitions`. Loading is not running.

While a file is loaded, a flow that it calls at module level does not run: the call returns None with a warning. The
file's folder is on `sys.path`, so that it can import what lies beside it. A module is loaded once a process, under a
name made from its path: a file of a package (a folder with `__init__.py`) has its dotted name there, and can import
relatively; any other is a module of its own.
"""

import importlib
import importlib.util
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from plait.authoring.definitions import Definitions
from plait.authoring.scope import in_scope
from plait.authoring.where import frames_of_user, here
from plait.model.errors import DefinitionError, LoadError, UsageError, UserError
from plait.model.hashes import blake2b

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


def stamp_of(path: Path) -> str:
    """Changes when the code of a file, or of any file of a folder, does; empty for what is not there (a module)."""
    if path.is_dir():
        text = "\n".join(f"{file} {stamp_of(file)}" for file in files_of(str(path)))
        return blake2b(text.encode(errors="surrogateescape"), digest_size=8).hexdigest()
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_mtime_ns}:{found.st_size}:{found.st_ino}"


def _find_module(name: str) -> Any:
    if "" not in sys.path:
        put_on_path(Path.cwd())
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None


def put_on_path(folder: Path) -> None:
    """Make what lies in a folder importable: at the beginning of the path, as Python does with a script's folder; that
    of a package at its end, so that its `types.py` hides no other."""
    if str(folder) not in sys.path:
        sys.path.insert(len(sys.path) if (folder / "__init__.py").exists() else 0, str(folder))


def load_target(target: str, *, validate: bool = True) -> Definitions:
    """All definitions of a target. The first file that does not load raises LoadError with its place."""
    path = Path(target)
    key = str(path.resolve()) if path.exists() else target
    known = _loaded.get(key)
    if known is None:
        known = Definitions()
        if path.is_dir():
            put_on_path(path.resolve())
        for file in files_of(target):
            load_file(file, known, module_name=None if path.exists() else target)
        _loaded[key] = known
    if validate:
        known.validate()
    return known


def load_file(file: Path, into: Definitions | None = None, *, module_name: str | None = None) -> Definitions:
    """Load one file and add what it defines. Raises LoadError (or the DefinitionError in it) with file and line.

    `module_name`: import it so, instead of by the name that its path gives it.
    """
    found = into if into is not None else Definitions()
    packages = _packages_of(file)
    if module_name is not None:
        module = _load(file, lambda: importlib.import_module(module_name))
    elif packages:
        module = _load(file, lambda: _import_from(packages, file))
    else:
        module = _load(file, lambda: _execute(module_name_of(file), file))
    found.add_module(module, str(file))
    return found


# --- under which name -------------------------------------------------------------------------------------------------


def module_name_of(file: Path) -> str:
    """The name under which a file outside of packages is imported: its own, with a hash of its folder where another
    module has that name."""
    known = sys.modules.get(file.stem)
    if known is None and file.stem.isidentifier() and not _is_known_elsewhere(file):
        return file.stem
    if known is not None and getattr(known, "__file__", None) == str(file):
        return file.stem
    return _with_hash(file.stem, file.parent)


def _with_hash(name: str, folder: Path) -> str:
    digest = blake2b(str(folder).encode(), digest_size=4).hexdigest()
    return f"{name.replace('-', '_').replace('.', '_')}_{digest}"


def _is_known_elsewhere(file: Path) -> bool:
    """Whether the file's plain name would shadow an installed or standard module."""
    if file.stem in sys.stdlib_module_names:
        return True
    try:
        spec = importlib.util.find_spec(file.stem)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin != str(file)


def _packages_of(file: Path) -> list[Path]:
    """The folders of the packages that a file lies in, the outermost first; none for a file that is in no package, or
    cannot be imported from it."""
    folders: list[Path] = []
    folder = file.parent
    while (folder / "__init__.py").exists() and folder.name.isidentifier():
        folders.insert(0, folder)
        folder = folder.parent
    return folders if file.stem.isidentifier() else []


def _import_from(packages: Sequence[Path], file: Path) -> ModuleType:
    """Import a file of a package by its dotted name."""
    outermost = packages[0]
    put_on_path(outermost.parent)
    name = outermost.name
    if not _is_found(outermost):  # another package has the name: relative imports work under any
        name = _with_hash(name, outermost.parent)
        _execute(name, outermost / "__init__.py", package=outermost)
    return importlib.import_module(".".join([name, *(each.name for each in packages[1:]), file.stem]))


def _is_found(package: Path) -> bool:
    """Whether the plain name of a package is this one's, in this process."""
    if package.name in sys.stdlib_module_names:
        return False
    try:
        spec = importlib.util.find_spec(package.name)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == package / "__init__.py"


# --- what happens while it is loaded ----------------------------------------------------------------------------------


def _execute(name: str, file: Path, *, package: Path | None = None) -> ModuleType:
    """The module of that name, made from a file if it is not there yet; `package` is the folder of a package's."""
    if name in sys.modules:
        return sys.modules[name]
    places = [str(package)] if package is not None else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=places)
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


def _load(file: Path, load: Callable[[], ModuleType]) -> ModuleType:
    """Load a module; what goes wrong is told with file and line."""
    put_on_path(file.parent)
    try:
        with in_scope(Loading()):
            return load()
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
    """Where it went wrong: in the file, or in what it imports of the user's own."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f"{error.filename or file}:{error.lineno}"
    return frames_of_user(error) or str(file)
