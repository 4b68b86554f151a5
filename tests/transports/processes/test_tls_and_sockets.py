"""TLS, Unix sockets, inherited sockets and systemd, by real `enfilade run` processes of one and four workers."""

import asyncio
import http.client
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from enfilade.transports.processes.listeners import ListenError, inherited
from enfilade.transports.processes.tls import RenewedCertificate, TlsFiles
from support.http_client.connection import BOTH, INITIALIZE
from support.servers.processes import ROOT, enfilade_command, environment, free_port
from support.waiting import eventually

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets and signals")

SERVER = '''
from enfilade import Context, MCPApp
app = MCPApp("sockets")

@app.tool
async def whereabouts(ctx: Context) -> str:
    """Return the URL that was called."""
    return ctx.http.url

@app.route("/seen")
async def seen(request) -> list:
    return [request.scope["scheme"], request.client, request.scope["root_path"]]
'''


def certificate(folder: Path, name: str, *, password: bytes | None = None) -> tuple[Path, Path]:
    """Write a certificate for localhost and its key; return their paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    kind = serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password)
    files = folder / f"{name}.crt", folder / f"{name}.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, kind))
    return files


class Running:
    """`enfilade run` with options, until the end of a `with` block."""

    def __init__(self, folder: Path, *options: str, env: dict[str, str] | None = None, **popen: Any) -> None:
        command = enfilade_command("run", str(folder / "server.py"), "-t", "http", *options)
        self.lines: list[str] = []
        variables = {**environment(), "PYTHONUNBUFFERED": "1", **(env or {})}
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            **popen,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self._reader.join(5)
        return code

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(5)


def failed(folder: Path, *options: str, env: dict[str, str] | None = None) -> str:
    """Return what a server says that cannot start."""
    done = subprocess.run(
        enfilade_command("run", str(folder / "server.py"), "-t", "http", *options),
        cwd=folder,
        env={**environment(), **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20)
        self.sock.connect(str(self._path))


def got(connection: http.client.HTTPConnection, path: str = "/seen", **fields: str) -> str:
    """Return the body of a response."""
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in fields.items()})
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def answers(connection: http.client.HTTPConnection) -> bool:
    """Whether a server is there and ready."""
    try:
        return "ok" in got(connection, "/readyz")
    except (OSError, http.client.HTTPException):
        return False


def initialized(connection: http.client.HTTPConnection) -> str:
    """Return the body of the response to `initialize`."""
    import json

    headers = {"content-type": "application/json", "accept": BOTH}
    connection.request("POST", "/mcp", json.dumps(INITIALIZE), headers)
    body = connection.getresponse().read().decode()
    connection.close()
    return body


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "server.py").write_text(SERVER, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("workers", ["1", "4"])
def test_tls_and_a_renewed_certificate(folder: Path, workers: str) -> None:
    port = free_port()
    names = certificate(folder, "first", password=b"opensesame")
    served = folder / "served.crt", folder / "served.key"
    for source, target in zip(names, served, strict=True):
        target.write_bytes(source.read_bytes())
    (folder / "password").write_text("opensesame\n")

    def connect(ca: Path) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(ca))
        return http.client.HTTPSConnection("localhost", port, timeout=20, context=context)

    options = ("-p", str(port), "--tls-cert", str(served[0]), "--tls-key", str(served[1]), "--workers", workers)
    env = {"ENFILADE_TLS_KEY_PASSWORD_FILE": str(folder / "password")}
    with Running(folder, *options, env=env) as server:
        eventually(lambda: answers(connect(names[0])), "TLS is not served")
        assert f"https://127.0.0.1:{port}/mcp" in server.output
        assert got(connect(names[0])) == '["https","127.0.0.1",""]'
        assert '"serverInfo"' in initialized(connect(names[0]))
        open_connection = connect(names[0])
        open_connection.connect()
        renewed = certificate(folder, "second", password=b"opensesame")
        served[0].write_bytes(renewed[0].read_bytes())  # without its key it is not taken
        eventually(lambda: "is not taken" in server.output, "half of a renewal was not noticed")
        assert answers(connect(names[0]))
        served[1].write_bytes(renewed[1].read_bytes())
        eventually(lambda: answers(connect(renewed[0])), "the renewed certificate is not served")
        eventually(lambda: not any(answers(connect(names[0])) for _ in range(8)), "some worker has the old one")
        assert "opensesame" not in server.output
        assert got(open_connection) == '["https","127.0.0.1",""]'
        assert server.stop() == (0 if workers == "4" else -signal.SIGTERM)


class RacingFiles(TlsFiles, frozen=True):
    """Files that change again right after a complete pair was read from them."""

    replacement: bytes = b""

    def context(self) -> ssl.SSLContext:
        context = super().context()
        Path(self.certificate).write_bytes(self.replacement)  # the certificate of a third pair, without its key
        return context


@pytest.mark.anyio
async def test_a_renewal_that_goes_on_while_it_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the files have between a check and its use, each connection gets a complete pair."""
    first, second, third = (certificate(tmp_path, name) for name in ("first", "second", "third"))
    served = tmp_path / "served.crt", tmp_path / "served.key"

    def put(pair: tuple[Path, Path]) -> None:
        for source, target in zip(pair, served, strict=True):
            target.write_bytes(source.read_bytes())

    put(first)
    files = RacingFiles(certificate=str(served[0]), key=str(served[1]), replacement=third[0].read_bytes())
    context = TlsFiles(certificate=files.certificate, key=files.key).context()
    renewal = RenewedCertificate(files, context)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]

    async def offers(pair: tuple[Path, Path], name: str | None = "localhost") -> bool:
        trusting = ssl.create_default_context(cafile=str(pair[0]))
        trusting.check_hostname = name is not None
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname=name or "")
        except ssl.SSLError:
            return False
        writer.close()
        return True

    async with server:
        assert await offers(first)
        put(second)
        await renewal.check()
        assert await offers(second)
        assert await offers(second, name=None)
        await renewal.check()  # half of the third pair
        assert "is not taken" in caplog.text
        assert await offers(second)
        served[0].unlink()
        served[0].mkdir()  # no file any more
        await renewal.check()
        assert await offers(second)
        served[0].rmdir()
        put(third)
        await renewal.check()
        assert await offers(third)


def test_certificates_that_cannot_be_used(folder: Path) -> None:
    first, second = certificate(folder, "first"), certificate(folder, "second")
    locked = certificate(folder, "locked", password=b"x")
    port = str(free_port())

    def says(cert: Path, key: Path | None, **env: str) -> str:
        options = ["--tls-cert", str(cert), *(["--tls-key", str(key)] if key else [])]
        return failed(folder, "-p", port, *options, env=env)

    assert f"tls_cert: there is no file '{folder}/none'" in says(folder / "none", first[1])
    assert f"tls_key: '{second[1]}' is not the key of the certificate in '{first[0]}'" in says(
        first[0], second[1]
    )
    assert "is encrypted; give its password in ENFILADE_TLS_KEY_PASSWORD" in says(*locked)
    assert "it is not the password of" in says(*locked, ENFILADE_TLS_KEY_PASSWORD="wrong")
    assert "are no certificate and key in PEM" in says(folder / "server.py", first[1])
    assert "name the key by tls_key" in says(first[0], None)
    os.mkfifo(folder / "pipe")
    assert f"tls_cert: '{folder}/pipe' is a pipe" in says(folder / "pipe", first[1])
    assert "tls_key needs tls_cert" in failed(folder, "-p", port, "--tls-key", str(first[1]))
    if os.getuid():
        first[1].chmod(0)
        assert "may not be read by this user" in says(*first)


@pytest.mark.parametrize("workers", ["1", "4"])
def test_a_unix_socket(folder: Path, workers: str) -> None:
    path = folder / "server.sock"
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stale.bind(str(path))
    stale.close()  # the file stays, as after a crash
    options = ("--uds", str(path), "--uds-mode", "600", "--workers", workers, "--root-path", "/tools")
    with Running(folder, *options) as server:
        eventually(lambda: path.exists() and answers(UnixConnection(path)), "nobody listens")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert f"listening on the Unix socket {path}" in server.output
        assert got(UnixConnection(path)) == '["http",null,"/tools"]'
        forwarded = got(UnixConnection(path), x_forwarded_for="9.9.9.9", x_forwarded_proto="https")
        assert forwarded == '["https","9.9.9.9","/tools"]'
        assert '"serverInfo"' in initialized(UnixConnection(path))
        assert f"'{path}' is in use: another server listens there" in failed(folder, "--uds", str(path))
        assert answers(UnixConnection(path))
        server.stop()
    assert not path.exists()


def test_unix_sockets_that_cannot_be(folder: Path) -> None:
    assert "there is a file that is no socket" in failed(folder, "--uds", str(folder / "server.py"))
    assert "there is no folder" in failed(folder, "--uds", str(folder / "none" / "x.sock"))
    assert "the path is too long" in failed(folder, "--uds", str(folder / ("x" * 120)))
    assert "exclude each other" in failed(folder, "--uds", str(folder / "x.sock"), "--fd", "3")
    assert "String should match pattern" in failed(folder, "--uds-mode", "rw")


@pytest.mark.parametrize("workers", ["1", "4"])
def test_an_inherited_socket(folder: Path, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        options = ("--fd", str(listener.fileno()), "--workers", workers, "--forwarded-allow-ips", "10.0.0.0/8")
        with Running(folder, *options, pass_fds=[listener.fileno()]) as server:
            connect = lambda: http.client.HTTPConnection("127.0.0.1", port, timeout=20)  # noqa: E731
            eventually(lambda: answers(connect()), "nobody accepts")
            assert f"http://127.0.0.1:{port}/mcp" in server.output
            assert got(connect(), x_forwarded_for="9.9.9.9") == '["http","9.9.9.9",""]'
            server.stop()
    assert "descriptor 77 is no open socket" in failed(folder, "--fd", "77")


@pytest.mark.parametrize("kind", ["unbound", "connected", "datagrams"])
def test_sockets_that_are_not_inherited(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sockets = {
            "unbound": socket.socket(socket.AF_INET6),
            "connected": socket.create_connection(listener.getsockname()),
            "datagrams": socket.socket(type=socket.SOCK_DGRAM),
        }
        with pytest.raises(ListenError, match="is no bound stream socket"):
            inherited([sockets[kind].fileno()])
        for opened in sockets.values():
            opened.close()


class Manager:
    """Stands where systemd listens for messages."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)
        self.messages: list[str] = []

    def heard(self, text: str) -> bool:
        while True:
            try:
                self.messages.append(self._socket.recv(1000).decode())
            except BlockingIOError:
                return any(text in message for message in self.messages)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(folder: Path) -> Iterator[Manager]:
    manager = Manager(folder)
    yield manager
    manager.close()


#: Starts a command as systemd does: with the listener as descriptor 3, and the variables about it.
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", WATCHDOG_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("workers", ["1", "4"])
def test_systemd(folder: Path, manager: Manager, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        run = enfilade_command("run", str(folder / "server.py"), "-t", "http", "--workers", workers)
        command = [sys.executable, "-c", ACTIVATE, str(listener.fileno()), *run]
        variables = {
            **environment(),
            "NOTIFY_SOCKET": str(manager.path),
            "WATCHDOG_USEC": "400000",
        }
        process = subprocess.Popen(command, cwd=ROOT, env=variables, pass_fds=[listener.fileno()])
        try:
            eventually(lambda: manager.heard("READY=1"), "systemd does not hear that the server serves")
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            assert answers(connection)
            manager.messages.clear()
            eventually(lambda: manager.heard("WATCHDOG=1"), "no sign of life")
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            assert manager.heard("STOPPING=1")
            assert not any("READY=1" in message for message in manager.messages)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
