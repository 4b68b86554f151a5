"""When a server is not asked for a moment, since it has failed for several requests in a row."""

from collections.abc import Callable
from typing import Final

#: Failures in a row. One or two may be about a single token, which must not keep the others out.
_MOST_FAILURES: Final = 5
#: Seconds of a pause, and the longest that a server may ask for.
PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 10.0


class FailureCircuit:
    """Opens after several failures in a row, closes by itself after a pause, and then counts anew.

    It counts anew so that one failure in each pause is not enough to keep it open.

    Args:
        clock: seconds of a clock that only goes forward.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._ends_at = -1.0

    @property
    def is_open(self) -> bool:
        """Whether the server is not to be asked now."""
        return self._clock() < self._ends_at

    def failed(self, retry_after: float | None = None) -> None:
        """Count a failure.

        Args:
            retry_after: seconds after which the server wants to be asked again.
        """
        self._failures += 1
        if self._failures >= _MOST_FAILURES:
            self._failures = 0
            self._ends_at = self._clock() + min(max(PAUSE, retry_after or 0.0), _LONGEST_PAUSE)

    def succeeded(self) -> None:
        """Begin to count anew."""
        self._failures = 0
