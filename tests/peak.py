"""The most memory that this process has needed."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak() -> int:
    """In bytes, since the program began."""
    try:
        # What getrusage tells of a new program begins with the peak of the one that started it.
        status = Path("/proc/self/status").read_text()
    except OSError:
        found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return found if sys.platform == "darwin" else found * 1024
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
