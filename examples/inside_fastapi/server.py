"""A web application with a login, and an MCP server inside that has the same data and the same users."""

import hmac
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection

from enfilade import Context, MCPApp, ToolError

mcp = MCPApp(name="inside_fastapi", version="1.0.0")

prices = {"tea": 3.5, "coffee": 4.0}


@mcp.tool
def price(item: str) -> float:
    """Say what something costs. Anybody may ask."""
    if item not in prices:
        raise ToolError(f"There is no {item}. There are {', '.join(prices)}.")
    return prices[item]


@mcp.tool
def set_price(item: str, amount: float, ctx: Context) -> str:
    """Change what something costs. Over HTTP that is for users of the application; over stdio there are none."""
    if ctx.http is not None and ctx.user_id is None:
        raise ToolError("Log in first: only users may change prices.")
    prices[item] = amount
    return f"{ctx.user_id or 'The local user'} has set {item} to {amount}."


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with mcp.running():  # what the MCP server has opened is put away with the rest
        yield


web = FastAPI(title="Prices", lifespan=lifespan)
web.router.routes.append(mcp.host_route())


@web.get("/prices/{item}")
def read_price(item: str) -> dict[str, float]:
    """The same price, for people with a browser."""
    if item not in prices:
        raise HTTPException(404, f"there is no {item}")
    return {item: prices[item]}


# -- the application's own login ---------------------------------------------------------------------------------

#: A real application has hashes of passwords, and both in a database.
PASSWORDS = {"ada": "tea-at-five", "bob": "no-sugar"}
TICKETS: dict[str, str] = {}
"""Who is logged in, by the ticket that they send with each request."""


class Login(BaseModel):
    """What a user sends to log in."""

    name: str
    password: str


@web.post("/login", response_class=PlainTextResponse)
def log_in(login: Login) -> str:
    """Give out a ticket."""
    password = PASSWORDS.get(login.name)
    if password is None or not hmac.compare_digest(password.encode(), login.password.encode()):
        raise HTTPException(403, "this is not the password")
    ticket = secrets.token_urlsafe(32)
    TICKETS[ticket] = login.name
    return ticket


class Tickets(AuthenticationBackend):
    """Reads who sends a request off its ticket, for pages and tools alike."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        """Return the user; None without a ticket."""
        scheme, _, ticket = conn.headers.get("authorization", "").partition(" ")
        if not scheme:
            return None
        if scheme.lower() != "bearer" or ticket not in TICKETS:
            raise AuthenticationError("this ticket is not valid")
        return AuthCredentials(["prices:write"]), SimpleUser(TICKETS[ticket])


def refuse(_: HTTPConnection, error: Exception) -> JSONResponse:
    """Answer a request with a ticket that is not valid."""
    return JSONResponse({"detail": str(error)}, 401, {"WWW-Authenticate": "Bearer"})


web.add_middleware(AuthenticationMiddleware, backend=Tickets(), on_error=refuse)


if __name__ == "__main__":
    mcp.run()
