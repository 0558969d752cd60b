"""A file with one workflow, which need not be named."""

from plait import flow, task


@task
def square(x):
    return x * x


@flow
def squares(count: int = 3):
    return [square(i) for i in range(count)]
