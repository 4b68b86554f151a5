"""Python's garbage collector while a server starts.

Loading modules makes a hundred thousand objects that stay, and the collector looks at them again and again. So it
is told to wait, and once the server serves, to leave alone what is there and go on as before.

Easy to get wrong: this is the business of whoever owns the process. It happens in `run()` and in the command,
never by an import; and to wait is not to be off, for the user's own file may do much before it serves.
"""

import gc
from typing import Final

_PATIENCE: Final = 100_000  # objects that may come before it looks; Python has 700 or some more

_before: list[tuple[int, int, int]] = []


def wait() -> None:
    """Let the collector wait until `go_on`; not if it is off."""
    if gc.isenabled() and not _before:
        _before.append(gc.get_threshold())
        gc.set_threshold(_PATIENCE, *_before[0][1:])


def go_on() -> None:
    """Let the collector work as it did before `wait`, but for what there is already."""
    if not _before:
        return
    threshold = _before.pop()
    if gc.get_threshold()[0] == _PATIENCE:  # or somebody else has decided on it meanwhile
        gc.freeze()
        gc.set_threshold(*threshold)
