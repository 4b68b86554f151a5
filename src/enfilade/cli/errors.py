"""What ends a command: one line that says what is wrong and what to do next.

Easy to get wrong: colour. Not everybody wants it (`NO_COLOR`), and a file or a pipe never does.
"""


class CommandError(Exception):
    """A command cannot go on; the text says why, and what to do. No trace is shown for it.

    Attributes:
        status: the command's exit status.
    """

    def __init__(self, text: str, status: int = 2) -> None:
        super().__init__(text)
        self.status = status


def complain(text: str) -> None:
    """Say on stderr what is wrong, in red where that can be seen and is wanted."""
    from rich.console import Console  # not before something is wrong: `enfilade run` does without

    console = Console(stderr=True, highlight=False)
    # A terminal would break a long line within a word; a program reads it as a line.
    console.print(text, style="red", markup=False, soft_wrap=not console.is_terminal)
