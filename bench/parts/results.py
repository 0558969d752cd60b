"""A large frame from one process to another: seconds and peak memory of each side.

    python -m bench.parts.results [--megabytes 500] [--folder DIR]

Peaks are the growth of the maximal resident set over the imports; "put" includes the frame itself.
"""

import argparse
import subprocess
import sys
import tempfile

SCRIPT = """
import resource, sys, time
import msgspec, numpy as np, pandas as pd
from plait.adapters.results.fsspec_store import FsspecResultStore
from plait.model.outcome import Stored

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6

side, folder, megabytes, stored = sys.argv[1:]
store = FsspecResultStore(folder)
base = peak()
if side == "put":
    frame = pd.DataFrame(np.ones((int(megabytes) * 12500, 10)), copy=False)
    begin = time.perf_counter()
    stored = msgspec.json.encode(store.put(frame, "r/frame")).decode()
else:
    begin = time.perf_counter()
    frame = store.get(msgspec.json.decode(stored.encode(), type=Stored))
    frame.iloc[0, 0] = 3.0
print(time.perf_counter() - begin, peak() - base, stored)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        stored = ""
        for side in ("put", "get"):
            # By way of a shell: a process begins with the peak of the one that called exec.
            command = [sys.executable, "-c", SCRIPT, side, folder, str(options.megabytes), stored]
            done = subprocess.run(["sh", "-c", '"$@"; exit $?', "sh", *command], stdout=subprocess.PIPE, check=True)
            seconds, peak, stored = done.stdout.decode().split(None, 2)
            stored = stored.strip()
            print(f"{side}: {float(seconds):.2f} s, peak {float(peak):.0f} MB for {options.megabytes} MB")


if __name__ == "__main__":
    main()
