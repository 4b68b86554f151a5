"""The other end of the wire: a client that answers by a script, for tests and for the command line.

This is only the face: it hands names on, each imported when it is first asked for. Easy to get wrong: pytest
loads the plugin of this room in every run of everybody who has Enfilade installed, so nothing is imported here.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enfilade.client.arguments import ArgumentError, read_arguments
    from enfilade.client.connect import connect
    from enfilade.client.errors import ConnectError
    from enfilade.client.recording_client import Connected, LogMessage, Report
    from enfilade.client.scripted_answers import Answer, OutOfAnswersError, Question, accept, cancel, decline
    from enfilade.client.surface import Surface, read_surface
    from enfilade.client.targets import Command

_HOMES = {
    "Answer": "scripted_answers",
    "OutOfAnswersError": "scripted_answers",
    "ArgumentError": "arguments",
    "Command": "targets",
    "Connected": "recording_client",
    "ConnectError": "errors",
    "LogMessage": "recording_client",
    "Question": "scripted_answers",
    "Report": "recording_client",
    "Surface": "surface",
    "accept": "scripted_answers",
    "cancel": "scripted_answers",
    "connect": "connect",
    "decline": "scripted_answers",
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

    value = getattr(importlib.import_module(f"enfilade.client.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
