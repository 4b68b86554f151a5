"""The other end of the wire: a client that answers by a script, for tests and for the command line.

This is only the face: it hands names on, each imported when it is first asked for. Easy to get wrong: pytest
loads the plugin of this room in every run of everybody who has Enfilade installed, so nothing is imported here.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enfilade.testing.answers import Answer, OutOfAnswersError, Question, accept, cancel, decline
    from enfilade.testing.arguments import ArgumentError, read_arguments
    from enfilade.testing.connected import Connected, LogMessage, Report
    from enfilade.testing.connecting import connect
    from enfilade.testing.failures import ConnectError
    from enfilade.testing.surface import Surface, read_surface
    from enfilade.testing.targets import Command

_HOMES = {
    "Answer": "answers",
    "OutOfAnswersError": "answers",
    "ArgumentError": "arguments",
    "Command": "targets",
    "Connected": "connected",
    "ConnectError": "failures",
    "LogMessage": "connected",
    "Question": "answers",
    "Report": "connected",
    "Surface": "surface",
    "accept": "answers",
    "cancel": "answers",
    "connect": "connecting",
    "decline": "answers",
    "read_arguments": "arguments",
    "read_surface": "surface",
}

__all__ = [
    "Answer",
    "ArgumentError",
    "Command",
    "ConnectError",
    "Connected",
    "LogMessage",
    "OutOfAnswersError",
    "Question",
    "Report",
    "Surface",
    "accept",
    "cancel",
    "connect",
    "decline",
    "read_arguments",
    "read_surface",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'enfilade.testing' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"enfilade.testing.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
