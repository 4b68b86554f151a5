"""Whether the file of a store can be used: what the log says when it cannot, and when it can again, each once.

Easy to get wrong: several threads use the file, and each would log the same. The first that fails logs it for
all, and the last that works again logs that.
"""

import logging
import threading

log = logging.getLogger("enfilade.state")


class Reach:
    """What is known about one file.

    Args:
        path: the file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lost: set[str] = set()
        self._lock = threading.Lock()

    @property
    def reported(self) -> bool:
        """Whether the log says that it cannot be used."""
        return bool(self._lost)

    def lost(self, part: str, why: Exception) -> None:
        """Note that a part cannot use it, from any thread; logged if all could.

        Args:
            part: one of those that use the file.
            why: what is wrong; the text is logged.
        """
        with self._lock:
            is_first = not self._lost
            self._lost.add(part)
        if is_first:
            log.warning("the store is out of reach: %s", why)

    def back(self, part: str) -> None:
        """Note that a part can use it, from any thread; logged if it was the last one that could not."""
        if part not in self._lost:
            return
        with self._lock:
            self._lost.discard(part)
            is_last = not self._lost
        if is_last:
            log.warning("the store is back: %s", self._path)
