"""Prefect: flows in this process; tasks in it, `.submit` to threads. `mode` is ephemeral (the flow starts a server of
its own) or server (one that runs beside it). Runs are recorded in SQLite by the server."""

import os
import subprocess
import sys
import time
import urllib.request

from common import Times, fib, options

PORT = 4299


def serve() -> subprocess.Popen:
    """Start a server, and wait for it."""
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{PORT}/api"
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--port", str(PORT)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/api/health", timeout=5).close()
            return server
        except OSError:
            if time.monotonic() > until or server.poll() is not None:
                raise
            time.sleep(0.2)


def main() -> None:
    """Measure."""
    asked = options()
    server = serve() if asked["mode"] == "server" else None
    from prefect import flow, task  # noqa: PLC0415  it reads where its server is when it is imported

    @task
    def work(n: int) -> int:
        return fib(n)

    @flow
    def chain(n: int, count: int) -> None:
        for _ in range(count):
            work(n)

    @flow
    def many(count: int) -> None:
        for future in [work.submit(10) for _ in range(count)]:
            future.result()

    try:
        where = "a server beside it" if server is not None else "a server of its own (ephemeral)"
        times = Times(asked, f"flow in this process, .submit in threads, {where}, SQLite")
        times.take("chain40", lambda: chain(10, 40))
        times.take("long10", lambda: chain(33, 10))
        times.take("parallel200", lambda: many(200))
        times.take("fan", lambda: many(asked["fan"]))
    finally:
        if server is not None:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    main()
