"""Pausing Python's garbage collector while a server starts.

Loading modules creates about a hundred thousand objects that stay alive, and the collector would traverse them
repeatedly. So its threshold is raised during the start. When the server serves, these objects are frozen (never
traversed again) and the old threshold is restored.

Easy to get wrong: the collector belongs to whoever owns the process, so `run()` and the command pause it, never
an import. It is paused and not disabled, because the user's own file may allocate a lot before it serves.
"""

import gc
from typing import Final

_PAUSED_THRESHOLD: Final = 100_000  # allocations before a collection; Python's default is 700, or 2000 from 3.14

_saved_thresholds: list[tuple[int, int, int]] = []


def pause() -> None:
    """Raise the threshold until `resume`; do nothing if the collector is disabled."""
    if gc.isenabled() and not _saved_thresholds:
        _saved_thresholds.append(gc.get_threshold())
        gc.set_threshold(_PAUSED_THRESHOLD, *_saved_thresholds[0][1:])


def resume() -> None:
    """Restore the threshold from before `pause`, and freeze the objects that exist now."""
    if not _saved_thresholds:
        return
    threshold = _saved_thresholds.pop()
    if gc.get_threshold()[0] == _PAUSED_THRESHOLD:  # or somebody else has set it meanwhile
        gc.freeze()
        gc.set_threshold(*threshold)
