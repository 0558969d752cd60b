"""Asking a thread of this process to stop: the only way where nothing can be killed.

ctypes is imported when a thread is asked first: most scripts end without that, and it is a hundredth of their start."""

from plait.authoring.signals import TaskCancelled


def raise_in_thread(thread_id: int) -> None:
    """Let `TaskCancelled` rise in that thread at its next bytecode; a blocking C call has to return first."""
    import ctypes

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(TaskCancelled))


def clear_in_thread(thread_id: int) -> None:
    """Take back a `TaskCancelled` that has not risen yet."""
    import ctypes

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), None)
