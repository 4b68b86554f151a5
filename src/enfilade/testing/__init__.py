"""A client with scripted answers, for tests of a server: the public names of `enfilade.client`.

Each name is imported when it is first read.

Easy to get wrong: pytest loads the plugin of this package in every environment with Enfilade, so nothing may be
imported here.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enfilade.client.arguments import (
        ArgumentError as ArgumentError,
        read_arguments as read_arguments,
    )
    from enfilade.client.connect import Connect as Connect, ConnectError as ConnectError, connect as connect
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

#: The public names by module. Type checkers read the imports above.
_EXPORTS = {
    "enfilade.client.arguments": ("ArgumentError", "read_arguments"),
    "enfilade.client.connect": ("Connect", "ConnectError", "connect"),
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

if not TYPE_CHECKING:  # type checkers would accept every name
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
