"""Child processes of ours: whatever happens to the parent, they don't outlive it."""

from __future__ import annotations

import os
import signal
import sys
import threading


def end_with_parent(parent: int) -> None:
    """End this process when process `parent` is gone, or when its end of our stdin is.

    On Linux the kernel does it at once, even while native code holds Python's lock.
    """
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def end_with_stdin() -> None:
    """End this process when stdin closes: for systems whose kernel does not tell."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
