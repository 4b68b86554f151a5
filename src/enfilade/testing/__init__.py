"""The other end of the wire: a client that answers by a script, for tests and for the command line.

This is only the face: it hands names on, each imported when it is first asked for. Easy to get wrong: pytest
loads the plugin of this room in every run of everybody who has Enfilade installed, so nothing is imported here.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enfilade.client.arguments import (
        ArgumentError as ArgumentError,
        read_arguments as read_arguments,
    )
    from enfilade.client.connect import Connect as Connect, connect as connect
    from enfilade.client.errors import ConnectError as ConnectError
    from enfilade.client.recording_client import (
        Connected as Connected,
        LogMessage as LogMessage,
        Report as Report,
    )
    from enfilade.client.scripted_answers import (
        Answer as Answer,
        OutOfAnswersError as OutOfAnswersError,
        Question as Question,
        accept as accept,
        cancel as cancel,
        decline as decline,
    )
    from enfilade.client.surface import (
        Surface as Surface,
        read_surface as read_surface,
    )
    from enfilade.client.targets import Command as Command

#: The public names, by the module that has them. Type checkers read the imports above.
_EXPORTS = {
    "enfilade.client.arguments": ("ArgumentError", "read_arguments"),
    "enfilade.client.connect": ("Connect", "connect"),
    "enfilade.client.errors": ("ConnectError",),
    "enfilade.client.recording_client": ("Connected", "LogMessage", "Report"),
    "enfilade.client.scripted_answers": (
        "Answer",
        "OutOfAnswersError",
        "Question",
        "accept",
        "cancel",
        "decline",
    ),
    "enfilade.client.surface": ("Surface", "read_surface"),
    "enfilade.client.targets": ("Command",),
}
_LAZY_EXPORTS = dict(sorted((name, module) for module, names in _EXPORTS.items() for name in names))

if not TYPE_CHECKING:  # type checkers would take every name for one that there is
    __all__ = list(_LAZY_EXPORTS)

    def __getattr__(name: str) -> Any:
        if name not in _LAZY_EXPORTS:
            raise AttributeError(f"module 'enfilade.testing' has no attribute {name!r}")
        import importlib

        value = getattr(importlib.import_module(_LAZY_EXPORTS[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return list(_LAZY_EXPORTS)
