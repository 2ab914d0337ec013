from __future__ import annotations

import pytest

from sentinel.criterion import Criterion
from sentinel.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "figure", "op", "value"),
    [
        ("p95 < 500 ms", "p95", "<", 500.0),
        ("p99.9<=2s", "p99.9", "<=", 2000.0),
        ("max < 800 us", "max", "<", 0.8),
        ("error_rate < 0.1 %", "error_rate", "<", 0.001),
        ("error rate < 0.05", "error_rate", "<", 0.05),
        ("throughput > 500/s", "throughput", ">", 500.0),
        ("excess = 0", "excess", "=", 0.0),
    ],
)
def test_reads_criteria_as_people_write_them(text: str, figure: str, op: str, value: float) -> None:
    criterion = Criterion.parse(text)
    assert (criterion.figure, criterion.op) == (figure, op)
    assert criterion.value == pytest.approx(value)
    assert Criterion.parse(str(criterion)) == criterion


def test_a_criterion_can_name_its_series() -> None:
    assert Criterion.parse("auth-flow/token: p95 < 300 ms").step == "token"
    assert Criterion.parse("auth-flow: error_rate < 1 %").application == "auth-flow"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p95", "not understood"),
        ("p95 < 500", "unit 'none'"),
        ("p0 < 5 ms", "no percentile"),
        ("latency < 5 ms", "use p50"),
        ("error_rate < 5 ms", "takes % or no unit"),
        ("error_rate < 150 %", "between 0 and 1"),
        ("throughput > 5", "takes /s"),
        ("excess = 0 %", "takes no unit"),
        ("p95 < 1.2.3 ms", "1.2.3"),
    ],
)
def test_refuses_what_it_cannot_mean(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Criterion.parse(text)
