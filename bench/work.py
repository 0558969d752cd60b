"""The work of the benchmarks: what plait, the floor and the peers run alike."""


def fib(n: int) -> int:
    """The n-th Fibonacci number, the slow way: fib(10) takes about 10 us, fib(33) about 0.5 s."""
    return n if n < 2 else fib(n - 1) + fib(n - 2)
