"""A stranger's URL leads this server to no address but those of the public internet (R-709, X-AUTH-21)."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from enfilade.auth.safe_fetch.addresses import is_public
from enfilade.auth.safe_fetch.fetch import MOST_BYTES, SafeFetcher, UnsafeURLError
from support.authorization.document_server import HOST, LOOPBACK, DocumentServer, fetcher

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentServer]:
    with DocumentServer(tmp_path_factory.mktemp("host")) as server:
        yield server


PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]
NOT_PUBLIC = [
    *("127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200"),
    *("0.0.0.0", "192.0.0.192", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
    *("255.255.255.255", "192.88.99.1", "168.63.129.16", "203.0.113.9"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1"),
    *("2002:7f00:1::1", "2002:808:808::1", "2001:0:7f00:1::1", "2001:db8::1", "3fff::1", "100::1"),
    *("2001:10::1", "2a00:1450:4001:0:0:5efe:7f00:1", "2a00:1450:4001:0:200:5efe:a00:1", "5f00::1"),
    *("", "localhost", "2130706433", "0x7f.1", "127.1", "08.8.8.8"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet(address: str) -> None:
    """R-709: also by NAT64, for machines that have no IPv4."""
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_other_addresses(address: str) -> None:
    """R-709: in whatever form an address holds another one."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://client.example.com/a",
        "https:///a",
        "ftp://client.example.com/a",
        "https://user@client.example.com/a",
        "https://client.example.com/a#b",
        "https://client.example.com:8443/a",
        "https://client.example.com:0/a",
        "https://127.0.0.1/a",
        "https://93.184.216.34/a",
        "https://2130706433/a",
        "https://0x7f000001/a",
        "https://0x7f.0.0.1/a",
        "https://0177.0.0.1/a",
        "https://127.1/a",
        "https://[::1]/a",
        "https://[::ffff:127.0.0.1]/a",
        "https://[2606:4700:4700::1111]/a",
        "https://localhost/a",
        "https://localhost./a",
        "https://a.localhost/a",
        "https://metadata.google.internal/a",
        "https://metadata.google.internal./a",
        "https://printer.local/a",
        "https://intranet/a",
        "https://client.example.com\\@127.0.0.1/a",
        "https://client.example.com\t/a",
        "https://cli\u2024ent.example.com/a",
        "https://１２７.0.0.1/a",
    ],
)
async def test_urls_that_are_not_even_resolved(url: str) -> None:
    """R-709: addresses in every spelling, names of one network, and everything but https."""

    async def resolve(host: str) -> list[str]:
        raise AssertionError(f"{host} was resolved")

    with pytest.raises(UnsafeURLError):
        await SafeFetcher(resolve=resolve).get(url)


@pytest.mark.parametrize("address", NOT_PUBLIC)
async def test_names_that_lead_to_other_addresses(address: str) -> None:
    """R-709: nothing is connected to, also if another address of the name is public."""

    async def resolve(host: str) -> list[str]:
        return ["93.184.216.34", address]

    with pytest.raises(UnsafeURLError, match="no address of the public internet"):
        await SafeFetcher(resolve=resolve).get("https://client.example.com/a")


async def test_the_checked_address_is_the_one_that_is_used(host: DocumentServer) -> None:
    """R-709: a name is resolved once; TLS and `Host` have the name, and not the address."""
    answers = [[LOOPBACK], ["10.0.0.1"]]

    async def resolve(name: str) -> list[str]:
        assert name == HOST
        return answers.pop(0)

    url = host.put("/a", b"{}")
    document = await fetcher(host.port, host.certificate, resolve).get(url)
    assert document.body == b"{}"
    assert answers == [["10.0.0.1"]]
    assert host.requests[-1] == ("/a", f"{HOST}:{host.port}")


async def test_the_certificate_is_that_of_the_name(host: DocumentServer) -> None:
    url = host.put("/a", b"{}").replace(HOST, "other.example.com")
    with pytest.raises(UnsafeURLError, match="failed"):
        await fetcher(host.port, host.certificate).get(url)


async def test_redirects_are_not_followed(host: DocumentServer) -> None:
    """R-709: wherever they lead."""
    before = len(host.requests)
    url = host.put("/moved", b"", 302, Location=host.put("/a", b"{}"))
    with pytest.raises(UnsafeURLError, match="a redirect, which is not followed"):
        await fetcher(host.port, host.certificate).get(url)
    assert [path for path, _ in host.requests[before:]] == ["/moved"]


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b" " * (MOST_BYTES + 1), {}, "more than"),
        (b"{}", {"Content_Encoding": "gzip"}, "compressed"),
    ],
)
async def test_responses_that_are_not_read(
    host: DocumentServer, body: bytes, headers: dict[str, str], reason: str
) -> None:
    """X-AUTH-21: 5 KB, and nothing that unpacks to more."""
    with pytest.raises(UnsafeURLError, match=reason):
        await fetcher(host.port, host.certificate).get(host.put("/bad", body, **headers))


async def test_a_host_that_does_not_answer(
    host: DocumentServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """R-709: every wait ends, also that for the resolver."""
    monkeypatch.setattr("enfilade.auth.safe_fetch.fetch.REQUEST_TIME", 0.2)

    async def never(name: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(UnsafeURLError, match="no answer within") as caught:
        await fetcher(host.port, host.certificate, never).get(host.url("/a"))
    assert not caught.value.is_final
    with socket.create_server((LOOPBACK, 0)) as silent:
        port: int = silent.getsockname()[1]
        with pytest.raises(UnsafeURLError, match="no answer within"):
            await fetcher(port, host.certificate).get(f"https://{HOST}:{port}/a")


async def test_few_at_a_time(host: DocumentServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-709: whoever names many hosts that do not answer takes up eight turns, and no more."""
    monkeypatch.setattr("enfilade.auth.safe_fetch.fetch.REQUEST_TIME", 0.3)
    running, counts = [0], list[int]()

    async def never(name: str) -> list[str]:
        running[0] += 1
        counts.append(running[0])
        try:
            await asyncio.Event().wait()
        finally:
            running[0] -= 1
        return []

    slow = fetcher(host.port, host.certificate, never)
    outcomes = await asyncio.gather(*(slow.get(host.url("/a")) for _ in range(100)), return_exceptions=True)
    assert all(isinstance(outcome, UnsafeURLError) for outcome in outcomes)
    assert max(counts) == 8


async def test_names_are_resolved_in_threads_of_their_own() -> None:
    """R-709: a name that there is not has no address."""
    with pytest.raises(UnsafeURLError, match="no address"):
        await SafeFetcher().get("https://nobody.has.this.name.example/a")
