"""A host on the internet, as far as tests have one: documents of clients by https, on a port of this machine.

`fetcher` gives what fetches from it, and from nothing else: names of hosts lead to this machine.
"""

import datetime
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from enfilade.auth.safe_fetch.fetch import SafeFetcher

HOST = "client.example.com"
LOOPBACK = "127.0.0.1"


def fetcher(
    port: int, certificate: Path | str, resolve: Callable[[str], Awaitable[Iterable[str]]] | None = None
) -> SafeFetcher:
    """Return what fetches documents from such a host.

    Args:
        port: where it listens.
        certificate: the file of its certificate.
        resolve: returns the addresses of a name; by default that of this machine.
    """

    async def to_this_machine(host: str) -> list[str]:
        return [LOOPBACK]

    return SafeFetcher(
        resolve=resolve or to_this_machine,
        is_allowed=lambda address: address == LOOPBACK,
        ports={port},
        ssl_context=ssl.create_default_context(cafile=str(certificate)),
    )


class DocumentServer:
    """The host, for the length of a `with` block.

    Attributes:
        port: where it listens.
        certificate: the file of its certificate.
        requests: the path and the `Host` of each request.
    """

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "certificate.pem"
        key = _write_certificate(self.certificate)
        self.requests: list[tuple[str, str]] = []
        self._answers: dict[str, tuple[int, bytes, dict[str, str]]] = {}
        answers, requests = self._answers, self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append((self.path, self.headers["Host"]))
                status, body, headers = answers.get(self.path, (404, b"", {}))
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Write nothing."""

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str) -> str:
        return f"https://{HOST}:{self.port}{path}"

    def put(self, path: str, body: bytes, status: int = 200, **headers: str) -> str:
        """Have a path answered so, and return its URL; `cache_control` is the header `Cache-Control`."""
        self._answers[path] = status, body, {name.replace("_", "-"): value for name, value in headers.items()}
        return self.url(path)

    def describe(
        self, path: str = "/client.json", *, headers: dict[str, str] | None = None, **members: Any
    ) -> str:
        """Put the document of a client at a path, and return its URL, which is the id of the client.

        Args:
            headers: of the response.
            members: of the document; None leaves one out.
        """
        url = self.url(path)
        document = {
            "client_id": url,
            "client_name": "a described client",
            "redirect_uris": ["http://127.0.0.1:1/callback"],
            "token_endpoint_auth_method": "none",
            **members,
        }
        body = msgspec.json.encode({name: value for name, value in document.items() if value is not None})
        self._answers[path] = 200, body, headers or {}
        return url


def _write_certificate(file: Path) -> Path:
    """Write a certificate for the host, and return the file of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key_file = file.with_suffix(".key")
    key_file.write_bytes(private)
    return key_file
