"""Tools for tests of code that uses threshold, and the conformance suite for stores. Needs no pytest."""

from .audit import worst_window
from .clock import ManualClock
from .contract import AsyncStoreContract, StoreContract
from .witness import Witness

__all__ = ["AsyncStoreContract", "ManualClock", "StoreContract", "Witness", "worst_window"]
