"""API keys (B4)."""

import asyncio
import hashlib
import time
from typing import Any

import pytest

from enfilade import MCPApp
from enfilade.auth import APIKeys, Principal, ResourceServer, hash_key
from support.http_client.asgi_calls import AsgiClient

KEY = "ek_0123456789abcdef"


def verify(keys: APIKeys, key: str) -> Principal | None:
    return asyncio.run(keys.verify_token(key))


def test_who_has_a_key() -> None:
    """B4: each key has its own principal, and others have none."""
    keys = APIKeys({hash_key(KEY): Principal("ci"), hash_key("other"): Principal("cd", scopes=frozenset({"a"}))})
    ci, cd = verify(keys, KEY), verify(keys, "other")
    assert ci is not None
    assert cd is not None
    assert (ci.subject, cd.subject, *cd.scopes) == ("ci", "cd", "a")
    for wrong in (
        "",
        KEY + "a",
        KEY[:-1],
        KEY.upper(),
        hash_key(KEY),
        "é",
        "a b",
        "a\n",
        "\ud800",
        "a" * 100_000,
    ):
        assert verify(keys, wrong) is None


def test_digests_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """B4: all of them, also after the one that matches."""
    compared: list[tuple[Any, Any]] = []
    keys = APIKeys({hash_key(text): Principal(text) for text in ("a", "b", "c")})
    original = __import__("hmac").compare_digest

    def compare(first: str, second: str) -> bool:
        compared.append((first, second))
        return bool(original(first, second))

    monkeypatch.setattr("enfilade.auth.api_keys.hmac.compare_digest", compare)
    principal = verify(keys, "a")
    assert principal is not None
    assert principal.subject == "a"
    assert len(compared) == 3


def test_hash_key() -> None:
    """B4: what `enfilade auth hash-key` prints."""
    assert hash_key(KEY) == "sha256:" + hashlib.sha256(KEY.encode()).hexdigest()
    for wrong in ("", "a b", "a\n", "é", "a\0", "a" * 5_000):
        with pytest.raises(ValueError, match=r"empty|ASCII"):
            hash_key(wrong)


@pytest.mark.parametrize("text", [KEY, "sha256:", "sha256:" + "a" * 63, "md5:" + "a" * 64, "a" * 64, "", 7])
def test_what_is_no_digest_is_refused(text: Any) -> None:
    """B4: a key itself is refused, and is not in the error."""
    with pytest.raises(ValueError, match="enfilade auth hash-key") as caught:
        APIKeys({hash_key("other"): Principal("a"), text: Principal("b")})
    assert "entry 2" in str(caught.value)
    assert KEY not in str(caught.value)


def test_upper_case_digests_are_the_same() -> None:
    keys = APIKeys({hash_key(KEY).upper(): Principal("ci")})
    assert verify(keys, KEY) == Principal("ci")


def test_values_are_principals() -> None:
    with pytest.raises(TypeError, match=r"entry 1 of APIKeys is str, no Principal: APIKeys\("):
        APIKeys({hash_key(KEY): "ci"})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="takes digests and principals, not list"):
        APIKeys([hash_key(KEY)])  # type: ignore[arg-type]


@pytest.mark.parametrize("header", ["Authorization", "cookie", "", "X API Key", "X-Key:", "X-Kéy", "Host"])
def test_headers_that_are_refused(header: str) -> None:
    with pytest.raises(ValueError, match="X-API-Key"):
        APIKeys({}, header=header)


def test_the_header_is_there_for_whoever_reads_requests() -> None:
    """B4."""
    keys = APIKeys({hash_key(KEY): Principal("ci")}, header="X-API-Key")
    assert keys.header == "X-API-Key"
    assert APIKeys({}).header is None
    assert hash_key(KEY) not in repr(keys)


@pytest.mark.anyio
async def test_a_key_ends_with_its_principal() -> None:
    """B4: by any header."""
    now = time.time()
    principals = {"new": Principal("ci", expires_at=now + 60), "old": Principal("ci", expires_at=now)}
    keys = APIKeys({hash_key(key): principal for key, principal in principals.items()}, header="X-API-Key")
    auth = ResourceServer("https://mcp.example.com/mcp", verifiers=[keys], leeway=0)
    client = AsgiClient(MCPApp("Keys", auth=auth))
    for key, status in (("new", 200), ("old", 401)):
        for headers in ({"authorization": f"Bearer {key}"}, {"x_api_key": key}):
            reply = await client.modern("tools/list", **headers)
            assert reply.status == status
            assert status == 200 or "it has expired" in str(reply.header("www-authenticate"))
