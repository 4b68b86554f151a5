"""Servers that answer but do not do what they are asked: each error says what to do, none says the password."""

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from enfilade.state.store import Store, StoreError
from enfilade.state.tasks.records import tasks_of
from support.servers.processes import HOST, free_port
from support.stores.kinds import opened
from support.stores.task_records import ids, new_task, take_all
from support.stores.valkey_server import Valkey

pytestmark = pytest.mark.anyio

SECRET = "kept-to-ourselves"


async def _do_everything(store: Store) -> None:
    heard = asyncio.Event()
    store.bus.subscribe("topic", lambda message: heard.set())
    await store.bus.publish("topic", b"message")
    await asyncio.wait_for(heard.wait(), 20)
    await store.keys.put("key", b"value", None)
    assert await store.keys.swap("key", b"value", b"new", 60)
    assert await store.keys.get("key") == b"new"
    await store.keys.delete("key")
    await store.log.open("stream", b"head")
    await store.log.append("stream", [(1, b"1")])
    await store.log.append("stream", [(2, b"2"), (3, b"3")])
    await store.log.touch("stream")
    events = await store.log.read("stream", 0)
    assert events is not None
    assert len(events.entries) == 3
    await store.log.drop("stream")
    tasks = tasks_of(store)
    await tasks.create(new_task("task", -1.0))
    assert await take_all(tasks, 1) == [("task", 2)]
    assert await tasks.renew({"task": 2}, 60.0) == []
    assert await tasks.write("task", 2, b"", due=None, ttl=60.0)
    assert await tasks.write("task", 3, b"", due=None, ttl=None)
    assert ids(await tasks.page("ada", None, 10)) == ["task"]
    await tasks.delete("task")


async def test_passwords(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    strange = "p@ss/w:rd %?#é"
    with Valkey(tmp_path, password=strange) as valkey:
        bare = f"{HOST}:{valkey.port}/0"
        async with opened(f"redis://:p%40ss%2Fw%3Ard%20%25%3F%23%C3%A9@{bare}") as store:
            await _do_everything(store)
        async with opened(f"redis://{bare}") as store:
            with pytest.raises(StoreError, match="wants a password"):
                await store.keys.get("key")
        for credentials in (f":{SECRET}", f"somebody:{SECRET}"):
            async with opened(f"redis://{credentials}@{bare}") as store:
                store.bus.subscribe("topic", lambda message: None)
                with pytest.raises(StoreError, match="refused the user or password") as refused:
                    await store.keys.get("key")
                assert bare in str(refused.value)
                assert SECRET not in str(refused.value) + repr(refused.value)
    assert caplog.records
    assert SECRET not in caplog.text


async def test_a_password_for_a_server_that_has_none(shared_valkey: Valkey) -> None:
    async with opened(f"redis://:{SECRET}@{HOST}:{shared_valkey.port}/0") as store:
        with pytest.raises(StoreError, match="refused the user or password"):
            await store.keys.get("key")


async def test_the_rights_that_the_error_names_are_enough(tmp_path: Path) -> None:
    with Valkey(tmp_path) as valkey:
        url = f"redis://worker:{SECRET}@{HOST}:{valkey.port}/0?prefix=shop"
        valkey.ask("ACL", "SETUSER", "worker", "on", f">{SECRET}", "~shop:*", "&shop:*", "-@all", "+get")
        async with opened(url) as store:
            assert await store.keys.get("key") is None
            with pytest.raises(StoreError, match="its user may not do this") as refused:
                await store.keys.put("key", b"value", 60)

        named = str(refused.value).partition("the commands ")[2].partition(", and the keys")[0]
        commands = named.replace(" and ", ", ").split(", ")
        valkey.ask("ACL", "SETUSER", "worker", *(f"+{command}" for command in commands))
        async with opened(url) as store:
            await _do_everything(store)
        async with opened(url.replace("shop", "bank")) as store:
            with pytest.raises(StoreError, match="its user may not do this"):
                await store.keys.get("key")


async def test_a_full_server_still_reads_and_takes_more_when_there_is_room(tmp_path: Path) -> None:
    with Valkey(tmp_path, ["--maxmemory-policy", "noeviction"]) as valkey:
        async with opened(valkey.url) as store:
            await store.log.open("stream", b"head")
            await store.log.append("stream", [(1, b"one")])
            await store.keys.put("key", b"value", None)
            valkey.ask("CONFIG", "SET", "maxmemory", "1")
            for refused in (
                store.keys.put("other", b"value", 60),
                store.keys.swap("key", b"value", b"new", 60),
                store.log.open("other", b"head"),
                store.log.append("stream", [(2, b"two")]),
                store.log.append("stream", [(2, b"two"), (3, b"three")]),
            ):
                with pytest.raises(StoreError, match="give it more memory"):
                    await refused
            assert await store.keys.get("key") == b"value"
            events = await store.log.read("stream", 0)
            assert events is not None
            assert events.entries == [(1, b"one")]

            valkey.ask("CONFIG", "SET", "maxmemory", "0")
            await store.log.append("stream", [(2, b"two"), (3, b"three")])
            events = await store.log.read("stream", 0)
            assert events is not None
            assert [position for position, _ in events.entries] == [1, 2, 3]


async def test_a_primary_that_becomes_a_replica_and_primary_again(tmp_path: Path) -> None:
    with Valkey(tmp_path) as valkey:
        async with opened(valkey.url) as store:
            await store.log.open("stream", b"head")
            valkey.ask("REPLICAOF", HOST, free_port())
            opened_before = _connections_ever(valkey)
            for _ in range(2):
                with pytest.raises(StoreError, match="replica"):
                    await store.log.append("stream", [(1, b"one")])
                with pytest.raises(StoreError, match="replica"):
                    await store.keys.put("key", b"value", 60)
            # Each refusal costs the connection: the name may lead to the new primary by now. One more is our own.
            assert _connections_ever(valkey) - opened_before >= 4
            assert await store.log.read("stream", 0) is not None
            valkey.ask("REPLICAOF", "NO", "ONE")
            await store.log.append("stream", [(1, b"one")])


def _connections_ever(valkey: Valkey) -> int:
    return int(valkey.ask("INFO", "stats")["total_connections_received"])


async def test_another_program_with_the_same_keys(shared_valkey: Valkey) -> None:
    shared_valkey.ask("SET", "taken:log:stream", "theirs")
    shared_valkey.ask("RPUSH", "taken:key:key", "theirs")
    async with opened(f"{shared_valkey.url}?prefix=taken") as store:
        with pytest.raises(StoreError, match="another program uses the same keys"):
            await store.log.open("stream", b"head")
        with pytest.raises(StoreError, match="another program uses the same keys"):
            await store.keys.get("key")


async def test_a_database_that_is_not_there(shared_valkey: Valkey) -> None:
    async with opened(f"redis://{HOST}:{shared_valkey.port}/1000") as store:
        with pytest.raises(StoreError, match="no such database"):
            await store.keys.get("key")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"-LOADING Redis is loading the dataset in memory", "is loading its data"),
        (b"-MISCONF Redis is configured to save RDB snapshots", "cannot write its data to disk"),
        (b"-MASTERDOWN Link with MASTER is down", "lost its primary"),
        (b"-NOREPLICAS Not enough good replicas to write.", "too few replicas"),
        (b"-MOVED 3999 127.0.0.1:6381", "part of a cluster"),
        (b"-CLUSTERDOWN Hash slot not served", "part of a cluster"),
        (b"-ERR max number of clients reached", "too many clients"),
        (b"-ERR unknown command 'XADD'", "Redis 6.2 or newer"),
        (b"-DENIED Redis is running in protected mode", "protected mode"),
        (b"-BUSY Redis is busy running a script", "busy with a script"),
        (b"-SOMETHING new " + SECRET.encode(), r"answered: SOMETHING new \*\*\*"),
        (b"HTTP/1.1 400 Bad Request", "no Redis or Valkey server"),
        (b"", "out of reach"),
    ],
)
async def test_each_refusal_says_what_to_do(answer: bytes, says: str) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while request := await reader.read(65536):
                for _ in range(request.count(b"\r\n*") + 1):
                    writer.write(b"+OK\r\n" if b"AUTH" in request else answer + b"\r\n")
                if not answer:
                    break
        writer.close()

    server = await asyncio.start_server(refuse, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    async with opened(f"redis://:{SECRET}@{HOST}:{port}/0") as store:
        with pytest.raises(StoreError, match=says) as refused:
            await store.keys.put("key", b"value", 60)
        assert SECRET not in str(refused.value)
    server.close()
    await server.wait_closed()


async def test_tls_checks_who_answers(shared_valkey: Valkey, tmp_path: Path) -> None:
    certificate = _certificate(tmp_path, HOST)
    async with _tls_before(shared_valkey, certificate) as port:
        async with opened(f"valkeys://{HOST}:{port}/0?prefix=tls&ssl_ca_certs={certificate}") as store:
            await _do_everything(store)
        async with opened(f"rediss://{HOST}:{port}/0?prefix=tls&ssl_cert_reqs=none") as store:
            await _do_everything(store)
        async with opened(f"rediss://{HOST}:{port}/0") as store:
            with pytest.raises(StoreError, match="certificate is not trusted"):
                await store.keys.get("key")
        async with opened(f"redis://{HOST}:{port}/0") as store:
            with pytest.raises(StoreError):
                await store.keys.get("key")
    certificate = _certificate(tmp_path, "127.0.0.9")
    async with _tls_before(shared_valkey, certificate) as port:
        async with opened(f"rediss://{HOST}:{port}/0?ssl_ca_certs={certificate}") as store:
            with pytest.raises(StoreError, match="certificate is not trusted"):
                await store.keys.get("key")
        async with opened(f"rediss://{HOST}:{port}/0?ssl_ca_certs={tmp_path}/no.pem") as store:
            with pytest.raises(StoreError, match="No such file"):
                await store.keys.get("key")


@contextlib.asynccontextmanager
async def _tls_before(valkey: Valkey, certificate: Path) -> AsyncIterator[int]:
    """Serve what a server says over TLS, which the one that comes with the wheel was built without."""
    passing: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(HOST, valkey.port)
        for task in (asyncio.create_task(copy(reader, back)), asyncio.create_task(copy(there, writer))):
            passing.add(task)
            task.add_done_callback(passing.discard)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(serve, HOST, 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        while passing:
            await asyncio.wait(passing)


def _certificate(directory: Path, host: str) -> Path:
    """Return a file with a key, and a certificate for it that it has signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = directory / f"{host}.pem"
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return file
