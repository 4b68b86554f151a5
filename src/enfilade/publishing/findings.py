"""What somebody has to know before a server can be published."""

import msgspec


class Findings(msgspec.Struct):
    """What was found.

    Attributes:
        missing: without what there is no valid file.
        todo: without what a registry refuses it, or clients cannot run it.
        notes: what was left out, and why.
    """

    missing: list[str] = []
    todo: list[str] = []
    notes: list[str] = []

    @property
    def is_complete(self) -> bool:
        """Whether it can be published."""
        return not self.missing and not self.todo
