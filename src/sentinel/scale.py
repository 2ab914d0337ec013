"""Exact arithmetic for a bucket's promise: integers in nanoseconds, scaled so that nothing is ever
rounded."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np
import numpy.typing as npt

from sentinel.observations import IntArray
from sentinel.promise import Bucket

PPM = 1_000_000
SAFE = 2**62


@dataclass(frozen=True, slots=True)
class Scale:
    """Measure a bucket in integers: `tick` units flow in per nanosecond, one request weighs `token`."""

    token: int
    tick: int
    dtype: npt.DTypeLike

    @classmethod
    def of(cls, promise: Bucket, ppm: int, n: int, span_ns: int) -> Scale:
        token, tick = promise.period_us * 1_000 * PPM, promise.limit * (PPM + ppm)
        common = gcd(token, tick)
        token, tick = token // common, tick // common
        largest = (n + promise.burst + 2) * token + 2 * (span_ns + 10**10) * tick
        return cls(token, tick, np.int64 if largest < SAFE else object)

    def array(self, values: IntArray) -> IntArray:
        return values.astype(self.dtype, copy=False)
