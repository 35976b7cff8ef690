"""Commands that end with the process that started them, also where that is killed; on Linux, elsewhere they stay."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_PROGRAM = """\
import ctypes, os, sys
parent = int(sys.argv[1])
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != parent:
        sys.exit(137)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"error: {sys.argv[2]}: cannot be started ({error}). Remedy: install it, or correct the command.")
"""


def follower(command: Sequence[str]) -> list[str]:
    """The words that start a command as a child of this process, with which it then ends."""
    return [sys.executable, "-S", "-c", _PROGRAM, str(os.getpid()), *command]
