"""The official client, which also records log messages, progress and questions.

Easy to get wrong: if the script has no answer left, the server gets an error, and may return a normal result. So
each request here raises such a failure before it returns the result.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, TypeVar

from mcp import Client
from mcp_types import CallToolResult, GetPromptResult, ReadResourceResult

from enfilade.client.refusals import RefusedPost
from enfilade.client.scripted_answers import Question, Script

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class LogMessage:
    """A log message of the server.

    Attributes:
        level: `debug` to `emergency`.
        data: the logged value.
        logger: the name of the logger; None if the server sends none.
    """

    level: str
    data: Any
    logger: str | None = None


@dataclass(frozen=True)
class Report:
    """A report of progress.

    Attributes:
        progress: the progress so far.
        total: the final progress; None if unknown.
        message: a description of the current step.
    """

    progress: float
    total: float | None = None
    message: str | None = None


class Connected(Client):
    """The official `mcp.Client`, connected, which records what the server sends besides responses.

    Attributes:
        logs: log messages so far, oldest first.
        progress: reports of progress so far.
        noise: errors of input that was no message, such as lines that a server prints to its standard output.
        refused: the last HTTP response, if it was an error.
    """

    def __init__(self, server: Any, script: Script, refused: RefusedPost | None = None, **options: Any) -> None:
        self.refused = refused or RefusedPost()
        self.logs: list[LogMessage] = []
        self.progress: list[Report] = []
        self.noise: list[Exception] = []
        self._script = script
        self._on_log = options.pop("logging_callback", None)
        self._on_message = options.pop("message_handler", None)
        super().__init__(
            server, logging_callback=self._log, message_handler=self._message, **{**script.callbacks(), **options}
        )

    @property
    def questions(self) -> list[Question]:
        """The questions of the server so far."""
        return self._script.questions

    @property
    def answers_left(self) -> list[Any]:
        """Answers that the server has not asked for; `assert not client.answers_left`."""
        return self._script.remaining

    async def call_tool(
        self, name: str, arguments: dict[str, Any] | None = None, *args: Any, **options: Any
    ) -> CallToolResult:
        """Call a tool, as `mcp.Client` does, and record its progress.

        Raises:
            OutOfAnswersError: the tool asked more questions than there are answers.
        """
        callback = args[1] if len(args) > 1 else options.pop("progress_callback", None)

        async def record(progress: float, total: float | None, message: str | None) -> None:
            self.progress.append(Report(progress, total, message))
            if callback is not None:
                await callback(progress, total, message)

        options["progress_callback"] = record
        return await self._checked(super().call_tool(name, arguments, *args[:1], **options))

    async def get_prompt(self, *args: Any, **options: Any) -> GetPromptResult:
        """Get a prompt, as `mcp.Client` does.

        Raises:
            OutOfAnswersError: the prompt asked more questions than there are answers.
        """
        return await self._checked(super().get_prompt(*args, **options))

    async def read_resource(self, *args: Any, **options: Any) -> ReadResourceResult:
        """Read a resource, as `mcp.Client` does.

        Raises:
            OutOfAnswersError: the resource asked more questions than there are answers.
        """
        return await self._checked(super().read_resource(*args, **options))

    def check_answers(self) -> None:
        """Raise the failure of an answer, if there was one.

        Raises:
            OutOfAnswersError: the server asked more questions than there are answers.
        """
        if (failure := self._script.take_failure()) is not None:
            raise failure

    async def _checked(self, call: Awaitable[ResultT]) -> ResultT:
        try:
            result = await call
        except Exception as error:
            if (failure := self._script.take_failure()) is not None:
                raise failure from error
            raise
        self.check_answers()
        return result

    async def _log(self, params: Any) -> None:
        self.logs.append(LogMessage(params.level, params.data, params.logger))
        if self._on_log is not None:
            await self._on_log(params)

    async def _message(self, message: Any) -> None:
        if isinstance(message, Exception):
            self.noise.append(message)
        if self._on_message is not None:
            await self._on_message(message)
