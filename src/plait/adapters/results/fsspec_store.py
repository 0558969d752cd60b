"""Results inline or as files: on the local disk by plain system calls, elsewhere by any file system of fsspec."""

import contextlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlsplit

from plait.adapters.results import serializers
from plait.model.outcome import Stored


class Files(Protocol):
    """The few things that the store asks of a place for files. Paths are relative to its root."""

    def url(self, name: str) -> str: ...
    def write(self, name: str) -> "contextlib.AbstractContextManager[serializers.Sink]": ...
    def read(self, name: str) -> "contextlib.AbstractContextManager[serializers.Source]": ...
    def times(self, folder: str) -> Iterator[tuple[str, float]]: ...
    def delete(self, name: str) -> None: ...


class FsspecResultStore:
    """The ResultStore on a URL (`file:///...`, a plain path, `s3://...`, `memory://...`).

    Values whose JSON or pickle has up to `inline_limit` bytes travel inside the `Stored`; larger ones are written to
    `<url>/<name>`. On a local disk a file is durable when `put` returns. fsspec is imported only for other URLs.
    """

    def __init__(self, url: str, inline_limit: int = 8192):
        self._inline_limit = inline_limit
        self._files = _files(url)
        self.url = self._files.url("").rstrip("/")

    def put(self, value: Any, name: str) -> Stored:
        """Store a value; see the port."""
        data = serializers.to_json(value)
        if data is None:
            return self._put_pickle(value, name)
        if len(data) <= self._inline_limit:
            return Stored(format=serializers.JSON, data=data, size=len(data))
        with self._files.write(_checked(name)) as sink:
            sink.write(data)
        return Stored(format=serializers.JSON, url=self._files.url(name), size=len(data))

    def _put_pickle(self, value: Any, name: str) -> Stored:
        try:
            return self._pickle(value, name, serializers.Pickled.dump)
        except serializers.ByValue:
            return self._pickle(value, name, serializers.Pickled.dump_by_value)

    def _pickle(self, value: Any, name: str, dump: Callable[[serializers.Pickled, Any], None]) -> Stored:
        with contextlib.ExitStack() as stack:  # has the file, if one is opened
            pickled = serializers.Pickled(
                lambda: stack.enter_context(self._files.write(_checked(name))), self._inline_limit
            )
            dump(pickled, value)
        url = None if pickled.data is not None else self._files.url(name)
        return Stored(format=serializers.PICKLE, data=pickled.data, url=url, size=pickled.size)

    def get(self, stored: Stored) -> Any:
        """The value; a missing file raises FileNotFoundError that names its URL."""
        if stored.data is not None:
            loads = serializers.from_json if stored.format == serializers.JSON else serializers.from_pickle
            return loads(stored.data)
        url = stored.url
        if url is None:
            raise ValueError("this result was not stored: it has neither data nor a URL")
        files, name = self._locate(url)
        try:
            with files.read(name) as source:
                if stored.format == serializers.JSON:
                    return serializers.from_json(source.read())
                return serializers.from_file(source, url)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"the result at {url} is gone; it was deleted, or its disk is not there") from error

    def _locate(self, url: str) -> tuple[Files, str]:
        if url.startswith(self.url + "/"):
            return self._files, unquote(url[len(self.url) + 1 :])
        folder, _, last = url.rpartition("/")  # of a store that has been moved, or of another one
        return _files(folder), unquote(last)

    def read_record(self, name: str) -> bytes | None:
        """A record, none when it is not there."""
        try:
            with self._files.read(_checked(name)) as source:
                return source.read()
        except FileNotFoundError:
            return None

    def write_record(self, name: str, data: bytes) -> None:
        """Write a record; a reader sees the old one or the new one."""
        with self._files.write(_checked(name)) as sink:
            sink.write(data)

    def old_records(self, folder: str, older_than: float, limit: int) -> list[str]:
        """Records that nobody wrote since then."""
        found = (name for name, at in self._files.times(_checked(folder)) if at < older_than)
        return [f"{folder}/{name}" for name in islice(found, limit)]

    def delete(self, names: Iterable[str]) -> None:
        """Delete these files and folders."""
        for name in names:
            self._files.delete(_checked(name))


def _files(url: str) -> Files:
    parts = urlsplit(url)
    if parts.scheme in {"file", "local"}:
        return LocalFiles(Path(unquote(parts.path)))
    if "://" not in url:
        return LocalFiles(Path(url).expanduser())
    return RemoteFiles(url)


def _checked(name: str) -> str:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{name!r} is not a relative path below the result store")
    return name


# --- local -----------------------------------------------------------------------------------------------------------


class LocalFiles:
    """A folder on this machine. A file is written under another name, synced, renamed, and its folder synced."""

    def __init__(self, root: Path):
        self._root = root.absolute()

    def url(self, name: str) -> str:
        """The `file://` URL."""
        return (self._root / name).as_uri() if name else self._root.as_uri()

    @contextlib.contextmanager
    def write(self, name: str):
        """A file that appears under its name when the block ends well, and then survives a power cut."""
        path = self._root / name
        new_folders = _make_folders(path.parent)
        temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("xb", buffering=0) as file:
                yield _Whole(file)
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        for folder in (path.parent, *new_folders):
            _sync_folder(folder)

    def read(self, name: str):
        """The file, open for reading."""
        return (self._root / name).open("rb")

    def times(self, folder: str) -> Iterator[tuple[str, float]]:
        """The files of a folder, and when each was written."""
        try:
            entries = os.scandir(self._root / folder)
        except FileNotFoundError:
            return
        with entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # it has just been replaced
                    if not entry.name.endswith(".tmp"):
                        yield entry.name, entry.stat().st_mtime

    def delete(self, name: str) -> None:
        """The file, or the folder with all that is in it."""
        path = self._root / name
        try:
            path.unlink()
        except FileNotFoundError:
            return
        except (IsADirectoryError, PermissionError):  # a folder; macOS says the latter
            import shutil  # here, because it imports every compression that there is

            shutil.rmtree(path)


class _Whole:
    """An unbuffered file whose `write` takes everything: the system may take less at a time."""

    def __init__(self, file: Any):
        self._file = file

    def write(self, data: Any) -> int:
        with memoryview(data) as view:
            done = 0
            while done < view.nbytes:
                done += self._file.write(view[done:])
            return done


def _make_folders(folder: Path) -> list[Path]:
    """Make it and what is missing above; the folders in which one was made, to be synced."""
    changed: list[Path] = []
    missing = folder
    while not missing.exists():
        missing = missing.parent
        changed.append(missing)
    folder.mkdir(parents=True, exist_ok=True)
    return changed


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- elsewhere -------------------------------------------------------------------------------------------------------


class RemoteFiles:
    """A file system of fsspec. Names are unique to an execution, so a file is written where it will lie: on object
    stores it appears when it is complete."""

    def __init__(self, url: str):
        import fsspec

        from plait.authoring.io_files import has_buckets  # only a store elsewhere needs it

        self._has_folders = not has_buckets(url)
        self._url = url.rstrip("/")
        self._system, self._root = fsspec.core.url_to_fs(self._url)
        self._root = self._root.rstrip("/")

    def url(self, name: str) -> str:
        """The URL, with the characters quoted that URLs do not have."""
        return f"{self._url}/{quote(name)}" if name else self._url

    @contextlib.contextmanager
    def write(self, name: str):
        """A file, complete when the block ends well; else it is deleted."""
        path = f"{self._root}/{name}"
        if self._has_folders:
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
        try:
            with self._system.open(path, "wb") as file:
                yield file
        except BaseException:
            self.delete(name)
            raise

    def read(self, name: str):
        """The file, open for reading."""
        return self._system.open(f"{self._root}/{name}", "rb")

    def times(self, folder: str) -> Iterator[tuple[str, float]]:
        """The files of a folder, and when each was written."""
        path = f"{self._root}/{folder}"
        try:
            self._system.invalidate_cache(path)  # not all of them can be told to `refresh`
            found: list[str] = self._system.ls(path, detail=False)
        except FileNotFoundError:
            return
        for each in found:
            with contextlib.suppress(FileNotFoundError):
                yield each.rpartition("/")[2], self._modified(each)

    def _modified(self, path: str) -> float:
        try:
            return self._system.modified(path).timestamp()
        except NotImplementedError as error:
            told = (
                f"{type(self._system).__name__} does not say when a file was written, so old files at {self._url} stay"
            )
            raise NotImplementedError(told) from error

    def delete(self, name: str) -> None:
        """The file, or everything below that folder."""
        with contextlib.suppress(FileNotFoundError):
            self._system.rm(f"{self._root}/{name}", recursive=True)
