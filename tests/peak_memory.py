"""Peak memory of this process."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak_memory() -> int:
    """Return the bytes that the program has needed at most."""
    try:
        # getrusage starts a new program with the peak of its parent.
        status = Path("/proc/self/status").read_text()
    except OSError:
        found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return found if sys.platform == "darwin" else found * 1024
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
