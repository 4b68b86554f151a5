"""Rows of the vault in each store: bound to user, provider and client, whoever writes to the store (A12)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from enfilade.serving.principal import Principal
from support.authorization.desk import Desk, desk, secrets_of
from support.authorization.desk_server import CLIENT_ID
from support.authorization.oauth_service import OAuthService
from support.stores.kinds import plain_connection
from support.stores.valkey_server import Valkey

STORES = ("memory", "sqlite", "redis")


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


def store_of(kind: str, request: pytest.FixtureRequest) -> str:
    """Return the URL of a store that nobody has used."""
    path: Path = request.getfixturevalue("tmp_path")
    if kind == "redis":
        valkey: Valkey = request.getfixturevalue("valkey")
        return f"{valkey.url}?prefix={path.name}:"
    return f"sqlite:///{path / 'state.db'}" if kind == "sqlite" else "memory://"


class Rows:
    """The rows of users in the store of a running server."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def name(self, user: str, provider: str = "corp", client_id: str = CLIENT_ID) -> str:
        assert self._desk.app is not None
        assert self._desk.issuer is not None
        key = Principal(user, issuer=self._desk.issuer.origin).key
        return self._desk.app.tool_authorization.vault.name_of(key, provider, client_id)

    def get(self, *identity: str) -> bytes | None:
        app, serving = self._desk.app, self._desk.serving
        assert app is not None
        assert serving is not None
        return serving.run(lambda: app.store.keys.get(self.name(*identity)))

    def put(self, content: bytes | None, *identity: str) -> None:
        app, serving = self._desk.app, self._desk.serving
        assert app is not None
        assert serving is not None
        assert content is not None
        serving.run(lambda: app.store.keys.put(self.name(*identity), content, 1000))


@pytest.mark.parametrize("kind", STORES)
def test_rows_of_others_are_unreadable(kind: str, request: pytest.FixtureRequest) -> None:
    """A12: swapped, copied or changed, a row is as good as none; back in its place it is what it was."""
    with desk("corp", "wiki", users=True, store=store_of(kind, request), secret="s" * 40) as it:
        rows = Rows(it)
        for user in ("ada", "bob"):
            it.consent("whoami_corp", user)
        ada, bob = rows.get("ada"), rows.get("bob")
        assert ada is not None
        rows.put(bob, "ada")
        rows.put(ada, "bob")
        for user in ("ada", "bob"):
            assert it.link("whoami_corp", user)
        rows.put(ada, "ada")
        rows.put(bob, "bob")
        for user in ("ada", "bob"):
            assert it.text("whoami_corp", user) == user
        rows.put(ada, "mallory")  # who never consented
        assert it.link("whoami_corp", "mallory")
        rows.put(ada, "ada", "wiki")
        assert it.link("whoami_wiki", "ada")
        for position in (0, len(ada) // 2, len(ada) - 1):
            rows.put(ada[:position] + bytes([ada[position] ^ 1]) + ada[position + 1 :], "ada")
            assert it.link("whoami_corp", "ada")
        for other in (ada[:-1], ada + b"\0", b"", b"\x93", b"{}"):
            rows.put(other, "ada")
            assert it.link("whoami_corp", "ada")
        rows.put(ada, "ada")
        assert it.text("whoami_corp", "ada") == "ada"


@pytest.mark.parametrize("kind", STORES)
def test_an_unreadable_row_is_replaced_by_a_new_consent(kind: str, request: pytest.FixtureRequest) -> None:
    """A12."""
    with desk(users=True, store=store_of(kind, request), secret="s" * 40) as it:
        it.consent("whoami_corp", "ada")
        Rows(it).put(b"broken", "ada")
        it.consent("whoami_corp", "ada")
        assert it.text("whoami_corp", "ada") == "ada"


@pytest.mark.parametrize("kind", STORES[1:])
def test_nothing_can_be_read_in_the_store(kind: str, request: pytest.FixtureRequest) -> None:
    """A12: neither tokens, nor client secrets, nor verifiers; names of rows do not show whose they are."""
    path: Path = request.getfixturevalue("tmp_path")
    with desk(users=True, store=store_of(kind, request), secret="s" * 40) as it:
        it.consent("whoami_corp", "ada-lovelace")
        it.service.grants.end_access_tokens()
        assert it.text("whoami_corp", "ada-lovelace") == "ada-lovelace"
        it.link("write_corp", "ada-lovelace")
        contents = [file.read_bytes() for file in path.iterdir()]
        if kind == "redis":
            contents = _everything(request.getfixturevalue("valkey"))
        verifiers = {form["code_verifier"] for form in it.service.token_requests("authorization_code")}
        for secret in (*secrets_of(it), *verifiers, "ada-lovelace", "whoami_corp"):
            assert not [content for content in contents if secret.encode() in content], secret
        assert sum(map(len, contents)) > 1000


def _everything(valkey: Valkey) -> list[bytes]:
    """Return all names and values of a server."""
    import redis

    found: list[bytes] = []
    with redis.Redis.from_url(valkey.url.replace("valkey://", "redis://")) as client:
        for name in client.scan_iter(count=1000):
            value = client.get(name) if client.type(name) == b"string" else client.dump(name)
            found += [name, value or b""]
    return found


def test_secrets_are_rotated(tmp_path: Path) -> None:
    """A12: an old entry is readable, is encrypted anew when it is written, and then needs only the new secret."""
    old, new, other = "o" * 40, "n" * 40, "x" * 40
    store = f"sqlite:///{tmp_path / 'state.db'}"
    with OAuthService() as service:
        services = {"corp": service}
        with desk(services=services, store=store, secret=old) as it:
            it.consent("whoami_corp")
        with desk(services=services, store=store, secret=[new, old]) as it:
            assert it.text("whoami_corp") == "ada"
            with desk(services=services, store=store, secret=new) as newer:
                assert newer.link("whoami_corp")  # nobody has written it yet
            service.grants.end_access_tokens()
            assert it.text("whoami_corp") == "ada"
        with desk(services=services, store=store, secret=new) as it:
            assert it.text("whoami_corp") == "ada"
        with desk(services=services, store=store, secret=other) as it:
            assert it.link("whoami_corp")
        with desk(services=services, store=store, secret=new) as it:
            assert it.text("whoami_corp") == "ada"  # nothing was deleted


def test_a_revoked_entry_leaves_no_row(tmp_path: Path) -> None:
    """A17: not even encrypted."""
    with desk(users=True, store=f"sqlite:///{tmp_path / 'state.db'}", secret="s" * 40) as it:
        it.consent("whoami_corp", "ada")
        rows = Rows(it)
        assert rows.get("ada") is not None
        assert it.text("revoke_corp", "ada") == "revoked"
        assert rows.get("ada") is None
        name = rows.name("ada")
    with plain_connection(tmp_path / "state.db") as connection:
        found = connection.execute("SELECT count(*) FROM keys WHERE key = ?", (name,)).fetchone()
    assert found == (0,)
