"""Settings of Hypothesis for all tests."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes is up to what else the machine does, and no property of what is tested.
settings.register_profile("timeless", deadline=None)
settings.load_profile("timeless")
