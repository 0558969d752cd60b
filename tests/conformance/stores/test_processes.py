"""What holds for every store that processes can share: what several do at once, one of them does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.stores.kinds import KINDS, parameters, place_of

ROOT = Path(__file__).parents[3]
OCCURRENCES = 40
NAMES = ("a", "b", "c")


def scheduler(url: str, name: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.conformance.stores.crowd", "scheduler", url, name, str(OCCURRENCES)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("kind", parameters([kind for kind in KINDS if kind != "memory"]))
def test_each_occurrence_is_made_once_and_each_run_claimed_once(kind, tmp_path):
    with place_of(kind, tmp_path) as place:
        store = place.open()
        processes = [scheduler(place.url, name) for name in NAMES]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        told = []
        for process in processes:  # each goes on when it has its line
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            told.append(json.loads(process.communicate(timeout=60)[0]))
            assert process.returncode == 0
        made = sorted(run_id for each in told for run_id in each["made"])
        assert [run_id[:4] for run_id in made] == [f"{number:04}" for number in range(OCCURRENCES)]
        claimed = {run_id: name for name, each in zip(NAMES, told, strict=True) for run_id in each["claimed"]}
        assert sum(len(each["claimed"]) for each in told) == len(claimed)
        left = store.claim("d", 1000)
        assert sorted([*claimed, *left]) == made
        assert {row.run_id: row.owner for row in store.list_runs(limit=1000)} == {**claimed, **dict.fromkeys(left, "d")}
        assert {row.epoch for row in store.list_runs(limit=1000)} == {2}
