"""Dask: a LocalCluster of two processes with one thread each; nothing is written."""

from common import Times, fib, options
from distributed import Client, LocalCluster


def step(n: int, _before: object) -> int:
    """One of a chain."""
    return fib(n)


def main() -> None:
    """Measure."""
    asked = options()
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:

        def chain(n: int, count: int) -> None:
            last = client.submit(fib, n, pure=False)
            for _ in range(count - 1):
                last = client.submit(step, n, last, pure=False)
            last.result()

        times = Times(asked, "LocalCluster, 2 processes with a thread each (nothing is durable)")
        times.take("chain40", lambda: chain(10, 40))
        times.take("long10", lambda: chain(33, 10))
        times.take("parallel200", lambda: client.gather(client.map(fib, [10] * 200, pure=False)))
        times.take("fan", lambda: client.gather(client.map(fib, [10] * asked["fan"], pure=False)))


if __name__ == "__main__":
    main()
