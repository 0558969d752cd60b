"""Asking a thread of this process to stop: the only way where nothing can be killed."""

import ctypes

from plait.authoring.signals import TaskCancelled


def raise_in_thread(thread_id: int) -> None:
    """Let `TaskCancelled` rise in that thread at its next bytecode; a blocking C call has to return first."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(TaskCancelled))


def clear_in_thread(thread_id: int) -> None:
    """Take back a `TaskCancelled` that has not risen yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), None)
