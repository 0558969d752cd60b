"""What the executions of these tests do, by their key; the factory that the zygote calls."""

# ruff: noqa: T201  what these print is what is tested

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from plait.model.outcome import ErrorInfo, Outcome, Stored, Verdict
from plait.model.wire import Execution


def ok(execution: Execution) -> Outcome:
    return Outcome(outputs={"result": Stored(format="json", data=str(execution.no).encode())})


def short(execution: Execution) -> Outcome:
    time.sleep(0.0005)
    return Outcome()


def fail(execution: Execution) -> Outcome:
    return Outcome(verdict=Verdict.FAILED, error=ErrorInfo(type="ValueError", message="no"))


def raise_(execution: Execution) -> Outcome:
    raise RuntimeError("a runner must not do this")


def unsendable(execution: Execution) -> Outcome:
    return Outcome(trigger={"x": object()})


def nap(execution: Execution) -> Outcome:
    """Sleep in Python, so that a thread can be interrupted."""
    until = time.monotonic() + float(execution.resume or 0.1)
    while time.monotonic() < until:
        time.sleep(0.005)
    return Outcome()


def deaf(execution: Execution) -> Outcome:
    """Sleep where nothing in Python can interrupt."""
    time.sleep(float(execution.resume or 0.1))
    return Outcome()


def once_slow(execution: Execution) -> Outcome:
    """Short, but for one that is told to be slow."""
    time.sleep(float(execution.resume or 0.0005))
    return Outcome()


def pid(execution: Execution) -> Outcome:
    return Outcome(name=str(os.getpid()))


def exit_3(execution: Execution) -> Outcome:
    os._exit(3)


def segfault(execution: Execution) -> Outcome:
    ctypes.string_at(0)
    raise AssertionError("unreachable")


def abort(execution: Execution) -> Outcome:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def say(execution: Execution) -> Outcome:
    print("printed", execution.no)
    print("to stderr", file=sys.stderr)
    logging.getLogger("user").warning("logged %d", execution.no)
    logging.getLogger("user").info("only where nobody has set another level")
    return Outcome()


def say_low(execution: Execution) -> Outcome:
    """By file descriptor: a sub-process, and what native code does."""
    print("before")
    subprocess.run(["sh", "-c", "echo from a shell; echo its stderr >&2"], check=True)
    os.write(1, b"by descriptor\n")
    return Outcome()


def say_and_nap(execution: Execution) -> Outcome:
    print("alive")
    return nap(execution)


def say_and_exit(execution: Execution) -> Outcome:
    print("last words")
    os._exit(4)


def child_process(execution: Execution) -> Outcome:
    """Start a sub-process that outlives it, and tell its number on the way."""
    child = subprocess.Popen(["sleep", "300"])
    print(f"child {child.pid}")
    return nap(execution)


def threads(execution: Execution) -> Outcome:
    return Outcome(name=",".join(thread.name for thread in threading.enumerate()))


def draw(execution: Execution) -> Outcome:
    import numpy as np

    time.sleep(0.05)  # so that each worker gets one; the shared generator is the point
    return Outcome(name=str(np.random.randint(1 << 30)))


def mark(execution: Execution) -> Outcome:
    """Leave a mark that it began, then do what it is told."""
    folder, what, seconds = execution.resume
    descriptor = os.open(f"{folder}/marks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(descriptor, b"%d\n" % execution.no)
    os.close(descriptor)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(seconds)
    return Outcome()


def fork_and_return(execution: Execution) -> Outcome:
    """Its child comes back from the task as well."""
    os.fork()
    return Outcome()


def leave(execution: Execution) -> Outcome:
    os.chdir("/")
    return Outcome()


def where(execution: Execution) -> Outcome:
    return Outcome(name=os.getcwd())


PROGRAMS: dict[str, Callable[[Execution], Outcome]] = {
    program.__name__: program
    for program in (
        *(ok, short, fail, raise_, unsendable, nap, deaf, once_slow, pid, exit_3, segfault, abort),
        *(say, say_low, say_and_nap, say_and_exit, child_process, threads, draw, mark),
        *(fork_and_return, leave, where),
    )
}


class Programs:
    """The Runner of these tests."""

    def run(self, execution: Execution) -> Outcome:
        return PROGRAMS[execution.key](execution)


def make(config: dict[str, Any]) -> Programs:
    if config.get("say"):
        print(config["say"])
    if config.get("import"):
        __import__(config["import"])
    return Programs()


def make_with_thread(config: dict[str, Any]) -> Programs:
    threading.Thread(target=time.sleep, args=(300,), name="stray", daemon=True).start()
    return Programs()


def make_raising(config: dict[str, Any]) -> Programs:
    raise LookupError("there is no table like this")


def make_exiting(config: dict[str, Any]) -> Programs:
    print("about to leave")
    sys.stdout.flush()
    os._exit(7)


def make_sys_exit(config: dict[str, Any]) -> Programs:
    sys.exit("definitions should not do this")


def make_hanging(config: dict[str, Any]) -> Programs:
    time.sleep(300)
    raise AssertionError("unreachable")
