"""The providers of an app, with the credentials of the server at each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

from enfilade.auth.oauth_providers.client import ProviderClient
from enfilade.auth.oauth_providers.provider import OAuth2
from enfilade.primitives.access import PROVIDER_ID, AuthRequirement
from enfilade.settings import PREFIX

_USAGE: Final = 'tool_auth= takes a list of providers, such as [GitHub.client(id="…", secret="…")]'

#: Returns the value of a variable of the environment, or of `.env`; None or an empty text if it is not set.
Variable = Callable[[str], str | None]


@dataclass(frozen=True)
class StaticToken:
    """A token that is there already, for one's own machine: `StaticToken("github", env="GITHUB_TOKEN")`.

    Every caller of the server acts by it, so it is refused where others than the local user call.

    Args:
        provider: the id of the provider whose tokens it stands for.
        env: the variable of the environment that has it.
        token: the token itself, in place of a variable.

    Raises:
        ValueError: the id is none, or neither or both of the two are given.
    """

    provider: str
    env: str | None = None
    token: SecretStr | str | None = None

    def __post_init__(self) -> None:
        if not PROVIDER_ID.fullmatch(str(self.provider)):
            raise ValueError(f"StaticToken takes the id of a provider, such as 'github', not {self.provider!r}")
        if (self.env is None) == (self.token is None):
            raise ValueError('StaticToken takes env= or token=: StaticToken("github", env="GITHUB_TOKEN")')
        if isinstance(self.token, str):
            object.__setattr__(self, "token", SecretStr(self.token))

    def value(self, variable: Variable) -> str | None:
        """Return the token; None if the variable is not set."""
        if isinstance(self.token, SecretStr):
            return self.token.get_secret_value()
        return variable(str(self.env)) or None


def read_tool_auth(tool_auth: object) -> tuple[OAuth2 | StaticToken, ...]:
    """Return what was given as `tool_auth=`.

    Raises:
        TypeError: it is no list of providers; the text says what to write.
        ValueError: a provider is there twice.
    """
    if isinstance(tool_auth, OAuth2 | StaticToken | str | bytes | Mapping) or not isinstance(tool_auth, Iterable):
        raise TypeError(f"{_USAGE}, not {tool_auth!r}")
    given = tuple(tool_auth)
    for each in given:
        if isinstance(each, AuthRequirement):
            raise TypeError(f"{_USAGE}: {each!r} is what a tool needs; write {each.title}.client(...)")
        if not isinstance(each, OAuth2 | StaticToken):
            raise TypeError(f"{_USAGE}, and {each!r} is none")
    ids = [_id_of(each) for each in given]
    for id in ids:
        if ids.count(id) > 1:
            raise ValueError(f"tool_auth= has {id} twice")
    return given


def _id_of(given: OAuth2 | StaticToken) -> str:
    return given.provider if isinstance(given, StaticToken) else given.id


def variables_of(provider: str) -> tuple[str, str]:
    """Return the names of the variables that have the id and the secret of the client at a provider."""
    name = PREFIX + "AUTH_" + provider.upper().replace("-", "_")
    return f"{name}_CLIENT_ID", f"{name}_CLIENT_SECRET"


def environment(name: str) -> str | None:
    """Return a variable of the environment."""
    return os.environ.get(name)


class ToolClients:
    """The providers of one app: those of `tool_auth=`, and those that tools name and variables have a client for.

    Args:
        providers: what `tool_auth=` has.
        requirements: returns what tools need, which has the providers that they name.
        variable: returns a variable.
    """

    def __init__(
        self,
        providers: Iterable[OAuth2 | StaticToken],
        requirements: Callable[[], Iterable[AuthRequirement]] = tuple,
        variable: Variable = environment,
    ) -> None:
        self._given = {_id_of(each): each for each in providers}
        self._requirements = requirements
        self._variable = variable
        self._clients: dict[str, ProviderClient] = {}

    def static_token(self, provider: str) -> str | None:
        """Return the token that stands for those of a provider; None if there is none."""
        given = self._given.get(provider)
        return given.value(self._variable) if isinstance(given, StaticToken) else None

    def has_static(self, provider: str) -> bool:
        """Whether a token stands for those of a provider."""
        return isinstance(self._given.get(provider), StaticToken)

    def by_id(self, id: str) -> ProviderClient | None:
        """Return the client at a provider, by its id; None if nobody has configured it."""
        client = self._clients.get(id)
        if client is not None:
            return client
        named = (each.definition for each in self._requirements() if each.provider == id)
        provider = self._given.get(id) or next(named, None)
        if not isinstance(provider, OAuth2):
            return None
        names = variables_of(id)
        client_id = provider.client_id or self._variable(names[0])
        if not client_id:
            return None
        secret = provider.client_secret
        value = secret.get_secret_value() if isinstance(secret, SecretStr) else self._variable(names[1])
        client = self._clients[id] = ProviderClient(provider, client_id, value or None)
        return client

    def ids(self) -> list[str]:
        """Return the ids of all providers, of `tool_auth=` and of tools, sorted."""
        return sorted({*self._given, *(requirement.provider for requirement in self._requirements())})

    @property
    def has_several(self) -> bool:
        """Whether users consent at several providers."""
        return sum(not self.has_static(id) for id in self.ids()) > 1

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        for client in self._clients.values():
            await client.aclose()


def how_to_configure(requirement: AuthRequirement) -> str:
    """Return what an operator has to do about a provider that nobody has configured (A2)."""
    names = variables_of(requirement.provider)
    return (
        f"set {names[0]} and {names[1]}, or give MCPApp(tool_auth=[{requirement.title}.client(id=..., "
        "secret=...)])"
    )
