"""A large frame passes from one process to another with no copy in memory beyond the frame itself."""

import subprocess
import sys

import pytest

MEGABYTES = 200

SCRIPT = """
import resource, sys
sys.path[:0] = {path!r}
import numpy as np, pandas as pd
from plait.adapters.results.fsspec_store import FsspecResultStore
import msgspec
from plait.model.outcome import Stored

def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6

store = FsspecResultStore({folder!r})
base = peak()
if sys.argv[1] == "put":
    frame = pd.DataFrame(np.ones(({megabytes} * 1000 * 1000 // 80, 10)), copy=False)
    frame.iloc[-1, -1] = 7.0
    stored = store.put(frame, "r/frame")
    print(msgspec.json.encode(stored).decode())
else:
    frame = store.get(msgspec.json.decode(sys.argv[2].encode(), type=Stored))
    frame.iloc[0, 0] = 3.0
    assert frame.iloc[-1, -1] == 7.0 and len(frame) == {megabytes} * 1000 * 1000 // 80
print(peak() - base)
"""


@pytest.mark.slow
def test_a_large_frame_passes_without_a_second_copy_on_either_side(tmp_path):
    script = SCRIPT.format(path=sys.path, folder=str(tmp_path), megabytes=MEGABYTES)

    def run(*args: str) -> list[str]:
        # By way of a shell: a process begins with the peak of the one that called exec, which here would be pytest's.
        command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", script, *args]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    stored, put_peak = run("put")
    [get_peak] = run("get", stored)
    assert float(put_peak) < 1.2 * MEGABYTES  # the frame itself, and next to nothing
    assert float(get_peak) < 1.2 * MEGABYTES
