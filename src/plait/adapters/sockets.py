"""Folders for sockets that the processes on one database share: the same for all processes of this user, and no one
else's.

They lie in /tmp, whatever TMPDIR says, so that all processes agree, and so that the name of a socket stays below the
104 bytes that macOS allows.
"""

import contextlib
import os
import socket
import stat
from pathlib import Path

from plait.model.errors import StoreError
from plait.model.hashes import blake2b

TRIES = 8


def private_folder(kind: str, key: str) -> Path:
    """The folder for sockets of a kind of the database that `key` names; not made yet."""
    base = Path("/tmp")  # noqa: S108  checked below: it is ours, and no link
    if not os.access(base, os.W_OK | os.X_OK):
        import tempfile  # rarely needed, and it imports every compression that there is

        base = Path(tempfile.gettempdir())
    digest = blake2b(os.fsencode(key), digest_size=8).hexdigest()
    for turn in range(TRIES):  # another user may have taken a name, by malice
        folder = base / f"{kind}-{os.getuid()}-{digest}{turn or ''}"
        with contextlib.suppress(FileNotFoundError):
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                continue
            if stat.S_IMODE(found.st_mode) != 0o700:
                folder.chmod(0o700)
        return folder
    raise StoreError(f"every name for a folder of sockets in {base} is taken by another user")


def bind(made: socket.socket, path: Path) -> None:
    """Bind a socket in such a folder, which may go at any moment: the last one to leave takes it away. Raises OSError
    when it cannot be done."""
    last: OSError | None = None
    for _ in range(TRIES):
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            made.bind(str(path))
            return
        except FileNotFoundError as error:
            last = error
    raise last or FileNotFoundError(path)


def leave(path: Path) -> None:
    """Take a socket away, and its folder if nobody else is there."""
    with contextlib.suppress(OSError):  # gone already, or others are still there
        path.unlink(missing_ok=True)
        path.parent.rmdir()


def clear(folder: Path, kind: socket.SocketKind) -> None:
    """Take away the sockets of this kind whose processes were killed: nobody is at the other end."""
    with contextlib.suppress(FileNotFoundError):
        for path in list(folder.iterdir()):
            with socket.socket(socket.AF_UNIX, kind) as probe:
                probe.setblocking(False)
                try:
                    probe.connect(str(path))
                except ConnectionRefusedError:
                    path.unlink(missing_ok=True)
                except OSError:  # its queue is full, or it is gone by now
                    continue
