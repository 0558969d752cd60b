"""Prints wherever one can print in a process, also below Python."""

import os
import subprocess

from plait import flow, task


def shout(where):
    print(f"{where}: printed", flush=True)  # noqa: T201  it is what the test is about
    os.write(1, f"{where}: written to fd 1\n".encode())
    subprocess.run(["echo", f"{where}: echoed"], check=True)


shout("module")


@task
def noisy():
    shout("task")
    return 1


@task
def crashes():
    import ctypes

    ctypes.string_at(0)


@flow
def body():
    shout("body")
    return noisy() + noisy.submit().result()


@flow
def segfault():
    crashes.options(executor="processes").submit().result()
