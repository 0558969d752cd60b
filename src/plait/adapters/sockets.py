"""Folders for sockets that the processes on one database share: the same for all processes of this user, and no one
else's.

They lie in /tmp, whatever TMPDIR says, so that all processes agree, and so that the name of a socket stays below the
104 bytes that macOS allows.
"""

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from plait.model.errors import StoreError

TRIES = 8


def private_folder(kind: str, key: str) -> Path:
    """The folder for sockets of a kind of the database that `key` names; not made yet."""
    base = Path("/tmp")  # noqa: S108  checked below: it is ours, and no link
    if not os.access(base, os.W_OK | os.X_OK):
        base = Path(tempfile.gettempdir())
    digest = hashlib.blake2b(os.fsencode(key), digest_size=8).hexdigest()
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
