"""A flow that takes a Ctrl-C for something else."""

import os
import time
from pathlib import Path

from plait import flow


@flow
def stubborn():
    Path(os.environ["NOTES"]).write_text("begun\n")
    while True:
        try:
            time.sleep(60)
        except BaseException:  # noqa: BLE001, S112  that is what stubborn means
            continue
