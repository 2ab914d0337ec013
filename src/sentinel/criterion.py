"""One pass criterion of a run as a value: which figure, which side of which bound, of which series.

Reading and writing only: what the figure of a run is, and whether it holds, is the analysis' business.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Literal

from sentinel.errors import ConfigurationError

Metric = Literal["latency", "error_rate", "denied_rate", "throughput", "excess"]
_LATENCY = re.compile(r"(p\d{1,2}(?:\.\d+)?|mean|max)")
_FORM = re.compile(
    r"\s*(?:(?P<series>[\w-]+(?:/[\w-]+)?)\s*:)?\s*(?P<figure>[a-z]+[\d.]*(?:[ _]rate)?)\s*"
    r"(?P<op><=|>=|<|>|=)\s*(?P<value>[\d.]+)\s*(?P<unit>us|ms|s|%|/s)?\s*"
)
_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_UNITS = {"error_rate": ("%", None), "denied_rate": ("%", None), "throughput": ("/s",), "excess": (None,)}


@dataclass(frozen=True, slots=True)
class Criterion:
    """Demand that a figure of a run stays on one side of a bound.

    figure: "p95", "p99.9", "mean" or "max" (milliseconds, of the response time), "error_rate" or
        "denied_rate" (0 .. 1), "throughput" (completed requests per second), "excess" (requests proven to be
        over the limit).
    op: "<", "<=", ">", ">=" or "=".
    value: in the figure's unit.
    application, step: the series it is about; None is all of them.

    >>> Criterion.parse("p95 < 500 ms")
    Criterion(figure='p95', op='<', value=500.0, application=None, step=None)
    >>> str(Criterion.parse("auth-flow/token: p95<0.3s")), str(Criterion.parse("error rate < 1 %"))
    ('auth-flow/token: p95 < 300 ms', 'error_rate < 1 %')
    """

    figure: str
    op: Literal["<", "<=", ">", ">=", "="]
    value: float
    application: str | None = None
    step: str | None = None

    def __post_init__(self) -> None:
        if self.op not in ("<", "<=", ">", ">=", "="):
            raise ConfigurationError(f"a criterion's op is {self.op!r}; it must be one of < <= > >= =")
        if not math.isfinite(self.value) or self.value < 0:
            raise ConfigurationError(
                f"the bound of {self.figure} is {self.value}; it must be finite and >= 0"
            )
        if self.metric == "latency" and self.figure.startswith("p") and not 0 < float(self.figure[1:]) < 100:
            raise ConfigurationError(f"{self.figure!r} is no percentile; use p50 .. p99.9")
        if self.metric in ("error_rate", "denied_rate") and self.value > 1:
            raise ConfigurationError(
                f"the bound of {self.figure} is {self.value}; a share is between 0 and 1 (0 and 100 %)"
            )

    @property
    def metric(self) -> Metric:
        """Name the kind of figure: latency, error_rate, denied_rate, throughput or excess."""
        if _LATENCY.fullmatch(self.figure):
            return "latency"
        match self.figure:
            case "error_rate" | "denied_rate" | "throughput" | "excess":
                return self.figure
        raise ConfigurationError(
            f"a criterion is about {self.figure!r}; use p50 .. p99.9, mean, max, error_rate, denied_rate, "
            "throughput or excess"
        )

    @classmethod
    def parse(cls, text: str) -> Criterion:
        """Read "p95 < 500 ms", "error_rate < 1 %", "throughput > 500/s", "app/step: p99 < 2 s"."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise ConfigurationError(f"criterion {text!r} is not understood; write it like 'p95 < 500 ms'")
        application, _, step = (found["series"] or "").partition("/")
        figure = found["figure"].replace(" ", "_")
        try:
            bare = cls(figure, found["op"], 0.0, application or None, step or None)  # type: ignore[arg-type]
            value = float(found["value"])
        except ValueError as error:
            raise ConfigurationError(f"criterion {text!r}: {error}") from None
        unit = found["unit"]
        units = tuple(_MS) if bare.metric == "latency" else _UNITS[bare.metric]
        if unit not in units:
            allowed = " or ".join(name or "no unit" for name in units)
            raise ConfigurationError(
                f"criterion {text!r} has the unit {unit or 'none'!r}; {figure} takes {allowed}"
            )
        if bare.metric == "latency":
            value *= _MS[unit]
        return replace(bare, value=value / 100 if unit == "%" else value)

    def __str__(self) -> str:
        series = "/".join(part for part in (self.application, self.step) if part)
        value, unit = self.value, {"latency": " ms", "throughput": "/s", "excess": ""}.get(self.metric, " %")
        if unit == " %":
            value *= 100
        return f"{series + ': ' if series else ''}{self.figure} {self.op} {value:.10g}{unit}"
