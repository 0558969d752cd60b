"""Where the file lies: what can be told before SQLite opens it."""

import os
import sys
from pathlib import Path

from plait.model.errors import StoreError

NETWORK_TYPES = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs",
        "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb2", "smb3", "smbfs",
    }
)  # fmt: skip
ALLOW = "PLAIT_ALLOW_NETWORK_DISK"
"""Set (to anything), the check is left out: for file systems whose locks work and where only one host writes."""
_MOUNTS = Path("/proc/self/mounts")


def prepare_place(path: Path) -> None:
    """Make the file's folder, and refuse a place where SQLite's locks and shared memory do not work."""
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the folder {folder} of the database cannot be made ({error.strerror}): name a file in a folder of yours"
        ) from error
    if path.is_dir():
        raise StoreError(f"{path} is a folder; name a file in it, for instance {path / 'plait.db'}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"{path} cannot be written: its folder {folder} is read-only for this user")
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise StoreError(f"{path} cannot be written: the file is read-only for this user")
    kind = mount_type(folder, _mounts())
    if kind in NETWORK_TYPES and not os.environ.get(ALLOW):
        raise StoreError(
            f"{path} lies on a network file system ({kind}), where SQLite's locks are not reliable and several hosts "
            "would damage the file: put the database on a local disk (--db, PLAIT_DB or PLAIT_HOME)"
        )


def mount_type(folder: Path, mounts: str) -> str | None:
    """The type of the file system that holds `folder`, by the text of /proc/mounts."""
    real = os.path.realpath(folder)
    best, found = -1, None
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:  # of two mounts at one point, the later one is on top
            best, found = len(point), fields[2]
    return found


def _mounts() -> str:
    if sys.platform != "linux":  # others have no such file; SQLite itself refuses where locks fail
        return ""
    try:
        return _MOUNTS.read_text(errors="surrogateescape")
    except OSError:
        return ""
