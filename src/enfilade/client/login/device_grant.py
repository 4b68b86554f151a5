"""Logins by a browser on any device (RFC 8628).

A code is shown, and the authorization server is asked for tokens until somebody has entered it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import httpx2

from enfilade.client.login.options import LoginError, LoginOptions
from enfilade.client.login.request_checks import safe_url
from enfilade.client.login.responses import error_of, json_object, one_line, read_limited

DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"

#: Seconds between two questions, if the server names none, and what `slow_down` adds.
_INTERVAL: Final = 5.0
_LONGEST_INTERVAL: Final = 60.0
_EXPIRES_IN: Final = 600.0
_LONGEST_PAGE: Final = 2048


class DeviceGrant:
    """The state of a login by another device.

    Attributes:
        token_request: the request that asks for tokens; None before a code was shown.
    """

    def __init__(self, options: LoginOptions) -> None:
        self.token_request: httpx2.Request | None = None
        self._options = options
        self._endpoints: dict[str, object] = {}
        self._interval, self._end = _INTERVAL, 0.0

    def note(self, issuer: str, metadata: dict[str, Any]) -> None:
        """Take note of the device endpoint of an issuer, which the official client's model leaves out.

        Args:
            issuer: the expected one.
            metadata: its own document; the caller has checked that.
        """
        self._endpoints[issuer] = metadata.get("device_authorization_endpoint")

    def knows(self, issuer: str) -> bool:
        """Whether the metadata of an issuer were noted, with or without a device endpoint."""
        return issuer in self._endpoints

    async def code(self, issuer: str, request: httpx2.Request, url: str) -> str:
        """Ask an issuer for a device code, show the code for the user, and return the device code.

        Args:
            issuer: the expected one.
            request: the request, with the client's authentication; its URL is set here.
            url: the server that wants the login, for the user.

        Raises:
            LoginError: there is no such login, or the server gives no code.
        """
        endpoint = self._endpoints.get(issuer)
        if endpoint is None:
            raise LoginError(f"{issuer} offers no login by another device: leave out --device")
        safe_url(endpoint, "device_authorization_endpoint")
        response = await self._post(str(endpoint), request)
        values = json_object(response)
        code, page = values.get("device_code"), values.get("verification_uri_complete")
        page = page or values.get("verification_uri")
        if response.status_code != 200 or not isinstance(code, str) or not isinstance(page, str):
            raise LoginError(f"the authorization server gave no device code: {error_of(response)}")
        safe_url(page, "the page to log in at")
        if len(page) > _LONGEST_PAGE:
            raise LoginError(f"the page to log in at has a URL of more than {_LONGEST_PAGE} characters")
        self._interval = min(_seconds(values.get("interval"), _INTERVAL), _LONGEST_INTERVAL)
        lifetime = min(_seconds(values.get("expires_in"), _EXPIRES_IN), self._options.timeout)
        self._end = time.monotonic() + lifetime
        self._options.show(
            f"{url} wants a login. Open this in a browser on any device, and enter the code "
            f"{one_line(str(values.get('user_code')))}:\n{page}"
        )
        return code

    async def _post(self, endpoint: str, request: httpx2.Request) -> httpx2.Response:
        """Send the form of a request to the device endpoint, and return the response."""
        headers = {**_form_headers(request), "Accept-Encoding": "identity"}
        timeout = self._options.request_timeout
        async with (
            httpx2.AsyncClient(timeout=timeout) as client,
            client.stream("POST", endpoint, content=request.content, headers=headers) as response,
        ):
            await read_limited(response, timeout)
            return response

    async def is_pending(self, response: httpx2.Response) -> bool:
        """Whether the user has not decided yet; waits before the next question.

        Raises:
            LoginError: they have refused, or the time is over.
        """
        error = json_object(response).get("error")
        if error == "slow_down":
            self._interval += _INTERVAL
        elif error != "authorization_pending":
            if response.status_code >= 400:
                raise LoginError(f"the authorization server refused the login: {error_of(response)}")
            return False
        if time.monotonic() + self._interval > self._end:
            raise LoginError("nobody has entered the code in time")
        await asyncio.sleep(self._interval)
        return True


def _form_headers(request: httpx2.Request) -> dict[str, str]:
    """Return the headers of a request that are about its form and its client."""
    return {name: request.headers[name] for name in ("content-type", "authorization") if name in request.headers}


def _seconds(value: object, default: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < 1e9 else default  # type: ignore[operator, arg-type]
