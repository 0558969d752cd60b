"""A process that hosts a session, for others to measure: `python -m bench.cases.hosting FILE HOME RUNS TASKS`.

It says `idle`, waits for a line, runs so many tasks, and begins again.
"""

import gc
import sys
from pathlib import Path

from bench.cases.scene import WORKERS, once, settings_in
from plait.bootstrap import open_session
from plait.worker.loading import load_target


def main(file: str, folder: str, runs: int, tasks: int) -> None:
    """Be measured."""
    workflow = load_target(file).workflow("fan")
    with open_session(settings_in(Path(folder)), target=file, workers=WORKERS) as session:
        once(session, workflow, {"n": 100})
        for turn in range(runs + 1):
            gc.collect()
            print("idle", flush=True)
            sys.stdin.readline()
            if turn < runs:
                once(session, workflow, {"n": tasks})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
