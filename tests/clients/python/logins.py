"""What both official Python clients have in common when they log in: a user's browser, a storage, and commands.

A driver reads one command a line and answers with one line:

    {"do": "connect", "key": "a", "url": URL, "mode": "auto", "credentials": {…} or null, "document": URL or null}
    {"do": "call", "key": "a", "tool": "whoami"}

Each connection lives in a task of its own, because the clients' task groups must end where they began.
"""

import asyncio
import json
import re
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx

REDIRECT_URI = "http://127.0.0.1:1/callback"
MOST_REDIRECTS = 20


class Storage:
    """Tokens and the client's registration, in memory."""

    def __init__(self) -> None:
        self._tokens: Any = None
        self._client: Any = None

    async def get_tokens(self) -> Any:
        return self._tokens

    async def set_tokens(self, tokens: Any) -> None:
        self._tokens = tokens

    async def get_client_info(self) -> Any:
        return self._client

    async def set_client_info(self, client_info: Any) -> None:
        self._client = client_info


class Browser:
    """A user's browser, which follows redirects until one leads back to the client; the user agrees to all."""

    def __init__(self) -> None:
        self._returned: dict[str, str] = {}

    async def visit(self, url: str) -> None:
        async with httpx.AsyncClient(timeout=30) as browser:
            request = browser.build_request("GET", url)
            for _ in range(MOST_REDIRECTS):
                response = await browser.send(request)
                if response.next_request is None:
                    request = self._agreeing(browser, response)
                    continue
                request = response.next_request
                url = str(request.url)
                if url.startswith(REDIRECT_URI):
                    self._returned = dict(httpx.URL(url).params)
                    return
        raise RuntimeError(f"more than {MOST_REDIRECTS} redirects")

    def _agreeing(self, browser: httpx.AsyncClient, page: httpx.Response) -> httpx.Request:
        """Return the request that sends the form of a page, as a user who agrees.

        Raises:
            RuntimeError: it has none.
        """
        action = re.search(r'<form method="post" action="([^"]*)"', page.text)
        if page.status_code != 200 or action is None:
            raise RuntimeError(f"{page.url} answers {page.status_code}: {page.text}")
        fields = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page.text))
        return browser.build_request("POST", page.url.join(action[1]), data={**fields, "decision": "allow"})

    def returned(self) -> dict[str, str]:
        """Return what the server sent back: `code`, `state` and `iss`.

        Raises:
            RuntimeError: it refused.
        """
        if "code" not in self._returned:
            raise RuntimeError(f"the server answered {self._returned}")
        return self._returned


Connect = Callable[[dict[str, Any]], AbstractAsyncContextManager[Any]]
"""Opens a connection as a command says; gives something with `call_tool`."""


async def _hold(connect: Connect, command: dict[str, Any], calls: "asyncio.Queue[Any]") -> None:
    async with connect(command) as client:
        _answer({})
        while (call := await calls.get()) is not None:
            try:
                result = await client.call_tool(call["tool"], call.get("arguments", {}))
            except Exception as error:
                _answer({"error": repr(error)})
            else:
                _answer({"result": result.model_dump(mode="json", by_alias=True)})


async def serve(connect: Connect) -> None:
    """Obey the commands on standard input until it ends."""
    connections: dict[str, tuple[asyncio.Queue[Any], asyncio.Task[None]]] = {}
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        if command["do"] == "connect":
            calls: asyncio.Queue[Any] = asyncio.Queue()
            task = asyncio.create_task(_hold(connect, command, calls))
            task.add_done_callback(_failed)
            connections[command["key"]] = calls, task
        else:
            await connections[command["key"]][0].put(command)
    for calls, _ in connections.values():
        await calls.put(None)
    await asyncio.wait([task for _, task in connections.values()], timeout=5)


def _failed(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _answer({"error": "".join(_texts(error))})


def _texts(error: BaseException) -> list[str]:
    if isinstance(error, BaseExceptionGroup):
        return [text for inner in error.exceptions for text in _texts(inner)]
    return [repr(error)]


def _answer(reply: dict[str, Any]) -> None:
    print(json.dumps(reply), flush=True)
