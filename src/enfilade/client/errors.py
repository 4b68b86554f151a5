"""What goes wrong before anything can be tested: packages that are missing, servers that cannot be reached.

Easy to get wrong: the client's task groups wrap what happened, sometimes twice, and only the innermost says it.
"""

MORE_PACKAGES = 'this needs more packages: pip install "enfilade[dev]"'


class ConnectError(Exception):
    """A server cannot be reached, or does not speak what it was asked for; the text says which and why."""


def require_client() -> None:
    """See to it that there is an official client that knows both eras.

    Raises:
        ModuleNotFoundError: there is none; the text says what to install.
    """
    try:
        from mcp import Client  # noqa: F401 - older versions have none
    except ImportError as error:
        raise ModuleNotFoundError(MORE_PACKAGES) from error


def innermost(error: BaseException) -> BaseException:
    """Return what happened, out of the groups that it is wrapped in."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
