"""What ends a command: one line that says what is wrong and what to do next."""


class CommandError(Exception):
    """A command cannot go on; the text says why, and what to do. No trace is shown for it.

    Attributes:
        status: the command's exit status.
    """

    def __init__(self, text: str, status: int = 2) -> None:
        super().__init__(text)
        self.status = status
