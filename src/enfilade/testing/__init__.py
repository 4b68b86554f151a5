"""For tests of a server: a client with scripted answers (`enfilade.client`), and an authorization server.

Each name is imported when it is first read.

Easy to get wrong: pytest loads the plugin of this package in every environment with Enfilade, so nothing may be
imported here.
"""

from typing import TYPE_CHECKING, Any

from enfilade import _lazy_exports, _lazy_value

if TYPE_CHECKING:
    from enfilade.client.connect import Connect as Connect, ConnectError as ConnectError, connect as connect
    from enfilade.client.json_values import ArgumentError as ArgumentError, read_arguments as read_arguments
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
    from enfilade.client.surface import Surface as Surface, read_surface as read_surface
    from enfilade.client.targets import Command as Command
    from enfilade.testing.issuer import Issuer as Issuer

#: The public names by module. Type checkers read the imports above.
_LAZY_EXPORTS = _lazy_exports(
    {
        "enfilade.client.json_values": "ArgumentError read_arguments",
        "enfilade.client.connect": "Connect ConnectError connect",
        "enfilade.client.recording_client": "Connected LogMessage Report",
        "enfilade.client.scripted_answers": "Answer OutOfAnswersError Question accept cancel decline",
        "enfilade.client.surface": "Surface read_surface",
        "enfilade.client.targets": "Command",
        "enfilade.testing.issuer": "Issuer",
    }
)

if not TYPE_CHECKING:  # type checkers would accept every name
    __all__ = list(_LAZY_EXPORTS)

    def __getattr__(name: str) -> Any:
        return _lazy_value(name, _LAZY_EXPORTS, globals())


def __dir__() -> list[str]:
    return list(_LAZY_EXPORTS)
