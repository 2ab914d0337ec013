"""Makes tests/threshold/support importable: the oracle and the arrivals, shared by several test files."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))
