"""What can be wrong with a token, for whoever checks it."""

from enfilade.serving.principal import is_finite


class InvalidTokenError(Exception):
    """A token is not accepted: HTTP 401 with `error="invalid_token"` (RFC 6750 §3.1).

    Args:
        reason: one sentence for the client's developer. It holds no part of the token and no text of a stranger.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ServerUnavailableError(Exception):
    """A token cannot be checked at present: HTTP 503, because a 401 would make clients start a login (X-AUTH-4).

    Args:
        server: what does not answer, for the log.
        retry_after: seconds after which the client should try again, up to a day.

    Raises:
        TypeError, ValueError: `retry_after` is no finite number.
    """

    def __init__(self, server: str, retry_after: float = 5.0) -> None:
        super().__init__(server)
        if not is_finite(retry_after):
            raise ValueError(f"retry_after is a finite number of seconds, not {retry_after!r}")
        self.retry_after = retry_after
