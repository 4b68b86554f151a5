"""`/metrics` on the port of the server, and what an app has to do with its metrics.

Easy to get wrong: many scrapes at once. To write the text takes milliseconds, so it happens in a thread, one at a
time: whoever comes while one is written shares the next.
"""

import asyncio
import importlib.metadata
import logging
import platform
from typing import Final

from enfilade.serving.failures import LimitedLog
from enfilade.telemetry.prometheus import definitions, sampler
from enfilade.telemetry.prometheus.exposition import CONTENT_TYPE, ScrapeError, refusal_of, render
from enfilade.telemetry.prometheus.requests import KnownTarget, RequestMetrics
from enfilade.telemetry.prometheus.sampler import Sampler
from enfilade.transports.exchange import HttpExchange
from enfilade.transports.http.origin_checks import HostOriginPolicy
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import RpcError

_failures: Final = LimitedLog(logging.getLogger("enfilade"))

_NO_STORE: Final = (b"cache-control", b"no-store")
_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")
#: Further headers of refusals, by status.
_MORE: Final = {405: [(b"allow", b"GET, HEAD")], 401: [(b"www-authenticate", b"Bearer")]}


class Metrics:
    """The metrics of one app.

    Args:
        policy: says which hosts and origins may scrape.
        token: that a scrape needs; empty for none.
        known_target: finds what the app offers.

    Attributes:
        observer: times the requests of the app.
        sampler: its timer.
    """

    def __init__(self, policy: HostOriginPolicy, token: str, known_target: KnownTarget) -> None:
        self._policy = policy
        self._token = token
        self.observer = RequestMetrics(known_target)
        self.sampler = Sampler()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writing: asyncio.Task[bytes] | None = None
        self._next: asyncio.Task[bytes] | None = None
        sampler.listen(self.observer.move)
        for definition in definitions.DEFINITIONS:  # so that what has not happened yet is 0, and not absent
            definitions.metric_of(definition)

    def describe(self, server: str, server_version: str) -> None:
        """Say what runs.

        Args:
            server: the name of the server.
            server_version: its version.
        """
        labels = (server, server_version, importlib.metadata.version("enfilade"), platform.python_version())
        definitions.gauge(definitions.INFO).labels(*labels).set(1)
        definitions.gauge(definitions.WORKERS).set(1)

    async def serve(self, exchange: HttpExchange) -> None:
        """Answer a scrape."""
        self.sampler.start()  # for a host that does not run the lifespan of the app
        try:
            fields = http.read(exchange.headers)
        except RpcError as error:
            await _send(exchange, error.status or 400, [_TEXT], error.message.encode())
            return
        refusal = refusal_of(self._policy, self._token, fields, exchange.method)
        if refusal is not None:
            more = _MORE.get(refusal.status, ())
            await _send(exchange, refusal.status, [_TEXT, *more], refusal.reason.encode())
            return
        try:
            body = await self._text()
        except ScrapeError as error:
            _failures.write(logging.ERROR, "%s", error)
            await _send(exchange, 503, [_TEXT], b"the metrics cannot be read; the log says why")
            return
        await _send(exchange, 200, [(b"content-type", CONTENT_TYPE.encode())], body)

    async def _text(self) -> bytes:
        """Return the metrics as text that is written from now on."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._writing, self._next = loop, None, None
        if self._next is None:
            self._next = loop.create_task(self._write_after(self._writing))
        return await asyncio.shield(self._next)

    async def _write_after(self, earlier: asyncio.Task[bytes] | None) -> bytes:
        if earlier is not None:
            await asyncio.wait((earlier,))
        self._writing, self._next = self._next, None
        return await asyncio.get_running_loop().run_in_executor(None, render)


async def _send(exchange: HttpExchange, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = (b"content-length", b"%d" % len(body))
    await exchange.send(status, [*headers, _NO_STORE, length], body)
