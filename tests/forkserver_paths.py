"""Search path of the forkserver, an interpreter that does not read the settings of pytest.

The forkserver ignores modules that it cannot import, and each process would import them again.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

sys.path[:0] = [str(ROOT), str(ROOT / "docs/examples")]
