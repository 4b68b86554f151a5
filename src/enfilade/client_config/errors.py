"""What keeps a client's file from being changed: a sentence for whoever asked, and the file is as it was."""


class ClientFileError(Exception):
    """A client's file was not changed; the text says why and what to do."""


class BrokenTextError(Exception):
    """A text is not what a client's file should be.

    Args:
        problem: what is wrong.
        text: the whole text.
        position: where in it, in characters.

    Attributes:
        line: number of the line, from 1.
        column: number of the character in it, from 1.
    """

    def __init__(self, problem: str, text: str, position: int) -> None:
        self.problem = problem
        before = text[:position].removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        self.line = before.count("\n") + 1
        self.column = len(before) - (before.rfind("\n") + 1) + 1
        super().__init__(f"line {self.line}, column {self.column}: {problem}")
