"""Limits as authors write them, and what is said of those that cannot be."""

from typing import Any

import pytest

from enfilade import MCPApp
from enfilade.primitives.limits.call_limits import CallLimits, read_limits, read_rate
from enfilade.settings import SettingsError


@pytest.mark.parametrize(
    ("text", "count", "period"),
    [("60/minute", 60, 60), ("1/second", 1, 1), (" 5 / hours ", 5, 3600), ("10/day", 10, 86400), ("7/s", 7, 1)],
)
def test_a_rate_is_a_count_in_a_period(text: str, count: int, period: float) -> None:
    rate = read_rate(text)
    assert (rate.count, rate.period) == (count, period)


@pytest.mark.parametrize(
    "text", ["", "60", "60/", "/minute", "0/minute", "-1/minute", "60/fortnight", "1.5/s", "a/s"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match='a rate is written "60/minute"'):
        read_rate(text)


def test_limits_have_defaults() -> None:
    assert read_limits("f", {"max_concurrency": 4}) == CallLimits(max_concurrency=4)
    assert read_limits("f", {"rate_limit": None, "max_concurrency": None}) is None


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"max_concurrency": 0}, ValueError, "max_concurrency is at least 1, not 0"),
        ({"max_concurrency": True}, TypeError, "max_concurrency is a number of calls, not True"),
        ({"max_concurrency": "4"}, TypeError, "max_concurrency is a number of calls, not '4'"),
        ({"rate_limit": 60}, TypeError, 'rate_limit is a text, "60/minute"'),
        ({"rate_limit": "60 per minute"}, ValueError, "not '60 per minute'"),
        ({"limit_per": "user"}, ValueError, "limit_per without a limit"),
        (
            {"rate_limit": "1/s", "limit_per": "user"},
            ValueError,
            "limit_per is 'principal', 'session', 'client' or",
        ),
        ({"rate_limit": "1/s", "on_limit": "drop"}, ValueError, "on_limit is 'wait' or 'refuse', not 'drop'"),
        ({"rate_limit": "1/s", "max_wait": 0}, ValueError, 'write on_limit="refuse"'),
        ({"rate_limit": "1/s", "max_wait": "1"}, TypeError, "max_wait is a number of seconds"),
        ({"rate_limit": "1/s", "max_wait": 1, "on_limit": "refuse"}, ValueError, "max_wait has no effect"),
    ],
)
def test_wrong_limits_are_refused_at_registration(
    options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    app = MCPApp()
    with pytest.raises(kind) as raised:
        app.tool(**options)(lambda_with_a_name)
    assert text in str(raised.value)
    assert "lambda_with_a_name" in str(raised.value)
    assert len(app.tools) == 0


def lambda_with_a_name() -> str:
    """Return nothing much."""
    return ""


@pytest.mark.parametrize(
    "options", [{"rate_limit": "60"}, {"max_concurrency": -1}, {"limit_per": "user"}, {"max_wait": 0}]
)
def test_wrong_limits_of_an_app_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(options))):
        MCPApp(**options)


def test_the_environment_has_the_limits_of_an_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENFILADE_RATE_LIMIT", "600/minute")
    monkeypatch.setenv("ENFILADE_LIMIT_PER", "session")
    settings = MCPApp(rate_limit="1/day").settings
    assert (settings.rate_limit, settings.limit_per) == ("600/minute", "session")
