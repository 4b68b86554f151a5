"""Functions whose bodies use what gives nothing here: FastMCP's token and headers, its context, its answers.

The modules are stand-ins with the names of the real ones; those of the official SDK are its own.
"""

import functools
import sys
import types
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import pytest
from mcp.server.auth.middleware import auth_context
from mcp.server.auth.middleware.auth_context import get_access_token as sdk_token
from mcp.server.elicitation import AcceptedElicitation, DeclinedElicitation
from pydantic import BaseModel

from enfilade import Context, Depends, MCPApp

DEPENDENCIES = "fastmcp.server.dependencies"


def stand_in(name: str) -> Any:
    """Return a function of `fastmcp.server.dependencies`."""
    function: Any = types.FunctionType((lambda: None).__code__, {}, name)
    function.__module__ = DEPENDENCIES
    return function


get_access_token = stand_in("get_access_token")
current_token = get_access_token
get_http_headers = stand_in("get_http_headers")
get_context = stand_in("get_context")
get_logger = stand_in("get_logger")
dependencies: Any = types.ModuleType(DEPENDENCIES)
dependencies.get_access_token = get_access_token


class Confirm(BaseModel):
    sure: bool


@pytest.fixture(autouse=True)
def _fastmcp(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    fastmcp: Any = types.ModuleType("fastmcp")
    fastmcp.server = types.ModuleType("fastmcp.server")
    fastmcp.server.dependencies = dependencies
    for module in (fastmcp, fastmcp.server, dependencies):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return


def token() -> str:
    return str(get_access_token())


def under_another_name() -> str:
    return str(current_token())


def headers() -> str:
    return str(get_http_headers())


def context() -> str:
    return str(get_context())


def of_the_module() -> str:
    return str(dependencies.get_access_token())


def imported_within() -> str:
    from fastmcp.server.dependencies import get_access_token as within

    return str(within())


def in_a_function_of_it() -> str:
    return "".join(str(get_access_token()) for _ in range(2))


def is_admin() -> bool:
    return bool(get_access_token())


def in_a_helper() -> str:
    return "denied" if is_admin() else "wiped"


def of_the_sdk() -> str:
    return str(sdk_token())


def of_a_module_of_the_sdk() -> str:
    return str(auth_context.get_access_token())


def checked(fn: Callable[..., str]) -> Callable[..., str]:
    @functools.wraps(fn)
    def check(*args: Any, **options: Any) -> str:
        return fn(*args, **options) if get_access_token() else "denied"

    return check


@checked
def in_a_decorator() -> str:
    return "wiped"


def from_outside() -> Callable[[], str]:
    read = get_access_token

    def fn() -> str:
        return str(read())

    return fn


async def matched(ctx: Context) -> str:
    match await ctx.elicit("Sure?", Confirm):
        case AcceptedElicitation(data=data):
            return str(data)
    return "kept"


async def declined(ctx: Context) -> str:
    return str(isinstance(await ctx.elicit("Sure?", Confirm), DeclinedElicitation))


async def parametrized(ctx: Context) -> str:
    kind = AcceptedElicitation[Confirm]
    return str(isinstance(await ctx.elicit("Sure?", Confirm), kind))


def within(fn: Callable[..., Any]) -> Callable[..., str]:
    def outer(x: Annotated[str, Depends(fn)]) -> str:
        return x

    return outer


WHO = "ctx.principal says who calls: subject, issuer, client_id, scopes, claims and expires_at"
ANSWER = "await ctx.elicit(message, T) returns Elicited, which has .action, .accepted and .data"


@pytest.mark.parametrize(
    ("fn", "where", "words"),
    [
        (token, "token()", f"get_access_token of another framework does not work here: {WHO}"),
        (under_another_name, "under_another_name()", "get_access_token of another framework"),
        (headers, "headers()", "get_http_headers of another framework does not work here: ctx.http has"),
        (context, "context()", "get_context of another framework does not work here: take the context as ctx:"),
        (of_the_module, "of_the_module()", "get_access_token of"),
        (imported_within, "imported_within()", "get_access_token of"),
        (in_a_function_of_it, "in_a_function_of_it()", "get_access_token of"),
        (in_a_helper, "in_a_helper(), in is_admin()", "get_access_token of"),
        (in_a_decorator, "in_a_decorator()", "get_access_token of"),
        (functools.partial(token), "token()", "get_access_token of"),
        (from_outside(), "from_outside.<locals>.fn()", "get_access_token of"),
        (within(token), "token()", "get_access_token of"),
        (of_the_sdk, "of_the_sdk()", "get_access_token of"),
        (of_a_module_of_the_sdk, "of_a_module_of_the_sdk()", "get_access_token of"),
        (matched, "matched()", f"AcceptedElicitation of another framework does not work here: {ANSWER}"),
        (declined, "declined()", "DeclinedElicitation of"),
        (parametrized, "parametrized()", "AcceptedElicitation of"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.endswith(")") else "",
)
def test_a_body_that_fails_open_is_refused(fn: Callable[..., Any], where: str, words: str) -> None:
    with pytest.raises(TypeError) as caught:
        MCPApp().add_tool(fn)
    assert where.rpartition(".")[2] in str(caught.value)
    assert f": {words}" in str(caught.value)
    assert str(caught.value).endswith("(see docs/from-fastmcp.md)")


def harmless() -> str:
    get_logger()
    return str(BaseModel)


def own() -> Callable[[], str]:
    def get_access_token() -> str:
        return "mine"

    def fn() -> str:
        return get_access_token() + str(dependencies.__name__)

    return fn


def recursive(n: int) -> int:
    return recursive(n - 1) if n else 0


@pytest.mark.parametrize("fn", [harmless, own(), recursive, functools.partial(recursive, 1)], ids="abcd")
def test_other_names_are_taken(fn: Callable[..., Any]) -> None:
    MCPApp().add_tool(fn, name="tool")


@pytest.mark.parametrize("kind", ["prompt", "resource"])
def test_prompts_and_resources_too(kind: str) -> None:
    app = MCPApp()
    with pytest.raises(TypeError, match="get_access_token of another framework"):
        app.add_prompt(token) if kind == "prompt" else app.add_resource(token, "a://b")
