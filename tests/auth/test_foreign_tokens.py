"""What verifiers of users return (acceptance B: `verifiers`)."""

import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from mcp.server.auth.provider import AccessToken as SdkToken

from enfilade.auth import InvalidTokenError, Principal, ServerUnavailableError
from enfilade.auth.foreign_tokens import principal_of

RESOURCE = "https://mcp.example.com/mcp"


@dataclass
class FastMCPToken:
    """An access token with the attributes that FastMCP's has."""

    token: str
    client_id: str
    scopes: list[str]
    expires_at: int | None = None
    resource: str | None = None
    claims: dict[str, Any] = field(default_factory=dict)


class Verifier:
    """A verifier of a user, by its name alone."""


def read(verified: object) -> Principal | None:
    return principal_of(verified, RESOURCE, 30.0, token="secret-token", verifier=Verifier())


def test_nobody() -> None:
    assert read(None) is None


def test_a_principal_is_taken_as_it_is() -> None:
    principal = Principal("anna", expires_at=time.time() + 60)
    assert read(principal) is principal


def test_an_access_token_of_the_official_sdk() -> None:
    token = SdkToken(
        token="secret-token",
        client_id="editor",
        scopes=["a", "b"],
        expires_at=int(time.time()) + 60,
        resource="HTTPS://mcp.example.com/mcp/",
        subject="anna",
        claims={"iss": "https://idp.example.com", "act": {"sub": "agent"}},
    )
    principal = read(token)
    assert principal is not None
    assert (principal.subject, principal.client_id) == ("anna", "editor")
    assert principal.issuer == "https://idp.example.com"
    assert principal.scopes == {"a", "b"}
    assert principal.expires_at == token.expires_at
    assert principal.claims["act"] == {"sub": "agent"}
    assert principal.access_token is not None
    assert principal.access_token.get_secret_value() == "secret-token"
    assert "secret-token" not in repr(principal)


def test_an_access_token_of_fastmcp() -> None:
    principal = read(FastMCPToken("t", "editor", ["a"], claims={"sub": "anna", "iss": "https://idp.example.com"}))
    assert principal is not None
    assert (principal.subject, principal.client_id, *principal.scopes) == ("anna", "editor", "a")


@pytest.mark.parametrize("claims", [{"iss": "https://idp.example.com"}, {}], ids=["of an issuer", "of no issuer"])
def test_a_client_without_a_user(claims: dict[str, str]) -> None:
    """X-AUTH-30: and a user with the id of a client is another principal."""
    client = read(SdkToken(token="t", client_id="robot", scopes=[], claims=claims))
    user = read(SdkToken(token="t", client_id="robot", scopes=[], claims=claims, subject="robot"))
    assert client is not None
    assert user is not None
    assert client.subject == user.subject == "robot"
    assert client.key != user.key


@pytest.mark.parametrize(
    ("verified", "reason"),
    [
        (SdkToken(token="t", client_id="a", scopes=[], expires_at=1), "expired"),
        (Principal("anna", expires_at=1.0), "expired"),
        (SdkToken(token="t", client_id="a", scopes=[], resource="https://other.example.com/mcp"), "audience"),
    ],
    ids=["expired token", "expired principal", "R-609 another resource"],
)
def test_refused(verified: object, reason: str) -> None:
    with pytest.raises(InvalidTokenError, match=reason):
        read(verified)


@pytest.mark.parametrize("number", [float("inf"), float("nan"), 10**400], ids=["inf", "nan", "huge"])
def test_times_are_finite(number: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Principal("anna", expires_at=number)
    with pytest.raises(ValueError, match="finite"):
        ServerUnavailableError("the directory", number)


def test_times_are_numbers() -> None:
    with pytest.raises(TypeError, match="number"):
        Principal("anna", expires_at="soon")  # type: ignore[arg-type]


def test_claims_that_are_nested_too_deeply() -> None:
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested too deeply"):
        Principal("anna", claims={"deep": deep})


@pytest.mark.parametrize(
    ("verified", "fault"),
    [
        ({"sub": "anna"}, "has returned dict"),
        (True, "has returned bool"),
        ("anna", "has returned str"),
        (FastMCPToken("t", "a", "read write"), "scopes is not a list"),  # type: ignore[arg-type]
        (FastMCPToken("t", "a", [7]), "scopes is not a list"),  # type: ignore[list-item]
        (FastMCPToken("t", "a", 7), "scopes is not a list"),  # type: ignore[arg-type]
        (FastMCPToken("t", "a", [], claims=[]), "claims is not a mapping"),  # type: ignore[arg-type]
        (FastMCPToken("t", "a", [], resource=7), "resource is not a text"),  # type: ignore[arg-type]
        (FastMCPToken("t", "a", [], expires_at="1"), "expires_at is not a number"),  # type: ignore[arg-type]
        (FastMCPToken("t", "a", [], expires_at=float("nan")), "expires_at is not a finite number"),  # type: ignore[arg-type]
        (FastMCPToken("t", "a", [], expires_at=10**400), "expires_at is not a finite number"),
        (FastMCPToken("t", "a", [], claims={"sub": 7}), "subject or client_id is not a text"),
        (FastMCPToken("t", "", []), "subject or client_id is not a text"),
    ],
    ids=[
        *("dict", "bool", "str", "scopes as a text", "a scope is a number", "scopes are a number", "claims"),
        *("resource", "expires_at", "expires_at is NaN", "expires_at is huge", "sub", "nobody"),
    ],
)
def test_a_verifier_that_is_wrong_gets_told(verified: object, fault: str) -> None:
    with pytest.raises(TypeError, match=fault) as caught:
        read(verified)
    assert "verify_token of Verifier" in str(caught.value)
    assert "secret-token" not in str(caught.value)
