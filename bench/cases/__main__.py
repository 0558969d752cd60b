"""`python -m bench.cases [NAME ...]`: the cases, each group in a process of its own, one after the other.

`--quick` does with small sizes and says nothing about speed: it shows that the cases work. `--json FILE` is how a group
hands its rows back.
"""

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench.cases.scene import Scene
from bench.measure import Figure, Row, take
from bench.report import plain, save, surroundings, table_of

GROUPS = (
    "chain", "fan", "shapes", "runs", "flow", "start", "memory", "sleep", "definitions", "load", "service", "postgres",
    "partitions", "automation",
)  # fmt: skip
MOST_SECONDS = 1800


def main() -> int:
    """Run the named groups, or all; 1 when one of them could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(GROUPS)}")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    unknown = set(options.names) - set(GROUPS)
    if unknown:
        parser.error(f"no case {', '.join(sorted(unknown))}; there are: {', '.join(GROUPS)}")
    if options.json is not None:
        rows = [row for name in options.names for row in measured(name, quick=options.quick)]
        options.json.write_text(json.dumps([asdict(row) for row in rows]))
        return 0
    return run_groups(options.names or list(GROUPS), quick=options.quick)


def measured(name: str, *, quick: bool) -> list[Row]:
    """The rows of one group, measured in this process."""
    module = importlib.import_module(f"bench.cases.{name}")
    with Scene(quick=quick) as scene:
        return [take(measure) for measure in module.measures(scene)]


def run_groups(names: list[str], *, quick: bool) -> int:
    """Measure, print and keep; a group that fails is told, and the others are measured."""
    print(json.dumps(surroundings(), indent=1))
    rows: list[Row] = []
    failed: list[str] = []
    for name in names:
        try:
            found = in_process(name, quick=quick)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            print(f"{name}: could not be measured: {error}", file=sys.stderr)
            failed.append(name)
            continue
        print(f"\n{table_of(found).text()}", flush=True)
        rows += found
    if not quick:
        save("cases", [plain(row) for row in rows])
    return 1 if failed else 0


def in_process(name: str, *, quick: bool) -> list[Row]:
    """The rows of one group, measured in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "bench.cases", name, "--json", str(out), *(["--quick"] if quick else [])]
        subprocess.run(command, check=True, timeout=MOST_SECONDS)
        return [_row(each) for each in json.loads(out.read_text())]


def _row(values: dict) -> Row:
    figures = {key: Figure(tuple(values[key]["values"])) for key in ("figure", "floor") if values[key] is not None}
    return Row(**{**values, **figures})


if __name__ == "__main__":
    sys.exit(main())
