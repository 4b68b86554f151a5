"""The endpoint and the bridge speak to `HttpExchange`; only `asgi.py`, and who calls it, knows ASGI."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.servers.processes import ROOT

TRANSPORTS = ROOT / "src/enfilade/transports"
FILES = sorted(file for folder in ("http", "bridge") for file in (TRANSPORTS / folder).glob("*.py"))

#: What a host's own function gets or returns, which may be imported from `asgi.py`.
HOOKS = {"UserHook", "host_principal", "host_principal_key"}
#: The one function that is an ASGI application, by file.
APPLICATIONS = {"bridge/transport.py": "handle_request"}
#: Where a scope is an argument for hooks of hosts, who may read it.
HANDED_ON = {"http/endpoint.py", "bridge/post.py", "bridge/transport.py"}
#: Where it is a field that hosts read.
SCOPE_FIELD = "bridge/messages.py"

NAMES = {"scope", "receive", "send", "Scope", "Receive", "Send", "AsgiExchange"}
ATTRIBUTES = {"scope", "_scope", "_receive", "_send"}
MESSAGES = ("http.request", "http.response", "http.disconnect", "more_body", "http_version")


def mentions(tree: ast.AST, name: str) -> Iterator[str]:
    """Yield what a file knows of ASGI.

    Args:
        tree: the file.
        name: its path below `transports`.
    """
    allowed: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef) and node.name == APPLICATIONS.get(name):
            allowed |= set(ast.walk(node))
        if isinstance(node, ast.FunctionDef) and node.name == "scope":  # an exchange around another one
            allowed |= set(ast.walk(node))
        if isinstance(node, ast.Call) and name in HANDED_ON:
            arguments = (*node.args, *(keyword.value for keyword in node.keywords))
            allowed |= {each for each in arguments if isinstance(each, ast.Attribute) and each.attr == "scope"}
    imported = NAMES | HOOKS if name in APPLICATIONS else HOOKS
    for node in ast.walk(tree):
        if node in allowed:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("transports.asgi"):
            yield from (alias.name for alias in node.names if alias.name not in imported)
        elif isinstance(node, ast.Name | ast.arg):
            word = node.id if isinstance(node, ast.Name) else node.arg
            if word in NAMES and not (word == "scope" and name == SCOPE_FIELD):
                yield word
        elif isinstance(node, ast.Attribute):
            if node.attr in ATTRIBUTES and not (node.attr == "scope" and name == SCOPE_FIELD):
                yield ast.unparse(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(MESSAGES):
            yield repr(node.value)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(TRANSPORTS).as_posix())
def test_no_file_knows_asgi(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert list(mentions(tree, file.relative_to(TRANSPORTS).as_posix())) == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from enfilade.transports.asgi import Headers, Send, UserHook", ["Headers", "Send"]),
        ("async def serve(scope, receive, send): pass", ["scope", "receive", "send"]),
        ("await send({'type': 'http.response.start'})", ["send", "'http.response.start'"]),
        ("(await self.read())['type'] != 'http.disconnect'", ["'http.disconnect'"]),
        ("method = exchange.scope['method']", ["exchange.scope"]),
        ("response.send(200, [], b'')\ncoroutine.send(None)", []),
    ],
)
def test_a_mention_would_be_seen(code: str, expected: list[str]) -> None:
    assert sorted(mentions(ast.parse(code), "http/post.py")) == sorted(expected)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("principal(exchange.scope)\nMessage(scope=exchange.scope)", []),
        ("exchange.scope['user']\nexchange.scope.get('client')", ["exchange.scope"] * 2),
    ],
)
def test_a_scope_is_handed_on_and_not_read(code: str, expected: list[str]) -> None:
    assert list(mentions(ast.parse(code), "http/endpoint.py")) == expected


def test_an_application_is_let_off_and_nothing_beside_it() -> None:
    code = "async def handle_request(scope, receive, send): await send(scope)\nsend(1)"
    assert list(mentions(ast.parse(code), "bridge/transport.py")) == ["send"]
