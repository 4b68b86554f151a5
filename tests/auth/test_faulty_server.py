"""The authorization server with faults has the faults that tests of the endpoint count on, and no others."""

from collections.abc import Iterator

import httpx
import pytest
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet

from enfilade.testing import Issuer
from support.authorization.faulty_server import (
    INTROSPECTION,
    JWKS,
    OAUTH,
    OPENID,
    FaultyServer,
    failing,
    keys_of,
    not_json,
    redirect,
)
from support.servers.scripted_http_server import Answer


@pytest.fixture
def faulty() -> Iterator[FaultyServer]:
    with FaultyServer() as server:
        yield server


def get(server: FaultyServer, path: str, **options: float) -> httpx.Response:
    return httpx.get(server.origin + path, **options)


def test_nothing_is_wrong_at_first(faulty: FaultyServer) -> None:
    metadata = get(faulty, OAUTH).json()
    assert metadata == get(faulty, OPENID).json()
    assert metadata["issuer"] == faulty.origin
    keys = KeySet.import_key_set(httpx.get(metadata["jwks_uri"]).json())
    assert jwt.decode(faulty.token("bob"), keys).claims["sub"] == "bob"
    assert [faulty.count(path) for path in (OAUTH, OPENID, JWKS)] == [1, 1, 1]


def test_a_forged_token_has_the_id_of_the_real_key(faulty: FaultyServer) -> None:
    keys = KeySet.import_key_set(get(faulty, JWKS).json())
    with pytest.raises(BadSignatureError):
        jwt.decode(faulty.forged_token(), keys)


def test_it_introspects(faulty: FaultyServer) -> None:
    faulty.introspected["opaque"] = {"active": True, "sub": "ada"}
    post = [httpx.post(faulty.origin + INTROSPECTION, data={"token": token}) for token in ("other", "opaque")]
    assert [response.json() for response in post] == [{"active": False}, {"active": True, "sub": "ada"}]
    assert faulty.received[-1].body == b"token=opaque"
    faulty.answers[INTROSPECTION] = failing(500)
    assert httpx.post(faulty.origin + INTROSPECTION).status_code == 500


def test_it_answers_as_it_is_told(faulty: FaultyServer) -> None:
    other = Issuer("https://other.test")
    faulty.answers |= {
        OAUTH: failing(503, Retry_After="7"),
        OPENID: faulty.metadata(issuer="https://other.test"),
        JWKS: keys_of(other),
        "/away": redirect("https://other.test/jwks"),
        "/page": not_json(),
    }
    assert (get(faulty, OAUTH).status_code, get(faulty, OAUTH).headers["retry-after"]) == (503, "7")
    assert get(faulty, OPENID).json()["issuer"] == "https://other.test"
    assert get(faulty, JWKS).json() == other.jwks()
    assert get(faulty, "/away").headers["location"] == "https://other.test/jwks"
    with pytest.raises(ValueError, match="Expecting value"):
        get(faulty, "/page").json()
    assert faulty.count(OAUTH) == 2


def test_it_is_slow(faulty: FaultyServer) -> None:
    faulty.answers |= {JWKS: (slow := faulty.slow(JWKS)), OAUTH: faulty.right(OAUTH, pause=60)}
    for path in (JWKS, OAUTH):
        with pytest.raises(httpx.ReadTimeout):
            get(faulty, path, timeout=0.3)
    assert slow.gate is not None
    slow.gate.set()
    assert get(faulty, JWKS).json() == faulty.issuer.jwks()


def test_it_answers_more_than_anybody_reads(faulty: FaultyServer) -> None:
    faulty.answers |= {JWKS: faulty.right(JWKS, padding=3_000_000), OAUTH: faulty.right(OAUTH, padding=None)}
    response = get(faulty, JWKS)
    assert (len(response.content) > 3_000_000, response.json()) == (True, faulty.issuer.jwks())
    with httpx.stream("GET", faulty.origin + OAUTH) as endless:
        read = 0
        for chunk in endless.iter_bytes():
            read += len(chunk)
            if read > 5_000_000:
                break
    assert read > 5_000_000


def test_it_hangs_up_and_goes_away(faulty: FaultyServer) -> None:
    faulty.answers[JWKS] = Answer(hangs_up=True)
    with pytest.raises(httpx.RemoteProtocolError):
        get(faulty, JWKS)
    faulty.stop()
    with pytest.raises(httpx.ConnectError):
        get(faulty, JWKS)
