"""A stateless call over its rounds, message by message: what a client does by itself, done by hand.

Easy to get wrong: a client sends the answers of the latest round only; what came before is in the state.
"""

from collections.abc import Callable, Mapping
from typing import Any

from enfilade import MCPApp
from support.http_client.asgi_calls import AsgiClient, AsgiReply
from support.http_client.connection import HeaderValue, modern_headers, request_of, stateless_meta

EVERYTHING: dict[str, Any] = {
    "elicitation": {"form": {}, "url": {}},
    "sampling": {"tools": {}, "context": {}},
    "roots": {},
}

Responses = Mapping[str, Any]


def accept(**content: Any) -> dict[str, Any]:
    """Return a user's answer to a form."""
    return {"action": "accept", "content": content}


def value(answer: Any) -> dict[str, Any]:
    """Return a user's answer to a form with one field."""
    return accept(value=answer)


def written(text: str) -> dict[str, Any]:
    """Return what a model wrote."""
    return {"role": "assistant", "model": "m", "content": {"type": "text", "text": text}}


ROOTS = {"roots": [{"uri": "file:///home/ada"}]}


class Call:
    """One call of a server in this process.

    Args:
        app: the server.
        name: the tool.
        arguments: its arguments.
        method: for another request than a tool's; `params` are then its own.
        capabilities: what the client declares.
        headers: for every round, such as who asks.
    """

    def __init__(
        self,
        app: Any,
        name: str = "",
        arguments: Mapping[str, Any] | None = None,
        *,
        method: str = "tools/call",
        params: Mapping[str, Any] | None = None,
        capabilities: Mapping[str, Any] = EVERYTHING,
        headers: Mapping[str, HeaderValue] | None = None,
    ) -> None:
        self.asgi = AsgiClient(app)
        self.method = method
        self.params = dict(params or {"name": name, "arguments": dict(arguments or {})})
        self.capabilities = capabilities
        self.headers = dict(headers or {})
        self.state: str | None = None
        self.rounds: list[dict[str, Any]] = []

    async def round(self, responses: Any = None, *, app: Any = None, **changes: Any) -> AsgiReply:
        """Send the call, with the state of the round before and these answers.

        Args:
            responses: `inputResponses`; left out if None.
            app: serves this round in place of the usual one.
            changes: members of the params that differ from the usual ones.
        """
        params = {**self.params}
        if self.state is not None:
            params["requestState"] = self.state
        if responses is not None:
            params["inputResponses"] = responses
        params.update(changes)
        meta = stateless_meta(clientCapabilities=self.capabilities)
        message = request_of(self.method, params, len(self.rounds) + 1, meta)
        asgi = self.asgi if app is None else AsgiClient(app)
        answered = await asgi.post(message, **{**modern_headers(message), **self.headers})
        result = answered.response.get("result", {})
        if result.get("resultType") == "input_required":
            self.state = result.get("requestState")
            self.rounds.append(result)
        return answered

    @property
    def asked(self) -> dict[str, Any]:
        """The questions of the latest round."""
        asked: dict[str, Any] = self.rounds[-1].get("inputRequests", {})
        return asked

    async def answer_all(self, answer: Callable[[str, dict[str, Any]], Any], *, most: int = 20) -> AsgiReply:
        """Answer every question until there is a result.

        Args:
            answer: from the question's words and params to the answer; None leaves the question open.
        """
        responses: dict[str, Any] | None = None
        for _ in range(most):
            answered = await self.round(responses)
            if answered.response.get("result", {}).get("resultType") != "input_required":
                return answered
            found = {key: answer(words(each), each["params"]) for key, each in self.asked.items()}
            responses = {key: each for key, each in found.items() if each is not None}
        raise AssertionError(f"no result after {most} rounds: {self.rounds[-1]}")


def words(question: Mapping[str, Any]) -> str:
    """Return what a question asks in words."""
    params = question["params"]
    if question["method"] == "sampling/createMessage":
        text: str = params["messages"][0]["content"]["text"]
        return text
    return str(params.get("message", question["method"]))


def text_of(answered: AsgiReply) -> str:
    """Return the text of a tool's result."""
    return "".join(block["text"] for block in answered.result["content"])


def server(*tools: Callable[..., Any], **options: Any) -> MCPApp:
    """Return a server of some tools."""
    app = MCPApp("asking", **options)
    for tool in tools:
        app.add_tool(tool)
    return app
