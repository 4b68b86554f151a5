"""TLS for `run()`: the files of the certificate, what is wrong with them in words, and their renewal.

Easy to get wrong:
- A key with a password. OpenSSL would ask for it at the terminal, and wait there for ever.
- A renewal is two files, written one after the other. What does not fit together yet is not taken: new
  connections get the previous certificate until it does. Connections that are open keep theirs.
- A context that has served is never changed, since OpenSSL keeps the certificate of a pair whose key it refuses,
  and the files may change between any check and their use. Each pair gets a context of its own, and a handshake
  gets the last one that was complete.
"""

import asyncio
import logging
import os
import ssl
from pathlib import Path

import msgspec

log = logging.getLogger("enfilade")


class TlsError(OSError):
    """TLS cannot be served with these files; the text is for whoever starts the server."""


class TlsFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The files by which a server proves who it is.

    Attributes:
        certificate: the certificate chain, in PEM.
        key: the private key, in PEM; empty if it is in the file of the certificate.
        password: of the key; empty without one.
    """

    certificate: str
    key: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"TlsFiles({self.certificate!r})"

    def context(self) -> ssl.SSLContext:
        """Return a context for new connections.

        Raises:
            TlsError: the text says what is wrong, and what to do.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        for setting, name in (("tls_cert", self.certificate), ("tls_key", self.key)):
            _check_readable(setting, name)
        asked: list[bool] = []

        def password() -> str:
            asked.append(True)
            return self.password

        try:
            context.load_cert_chain(self.certificate, self.key or None, password)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise TlsError(self._explain(error, is_encrypted=bool(asked))) from None
        return context

    def _explain(self, error: Exception, *, is_encrypted: bool) -> str:
        key = self.key or self.certificate
        if isinstance(error, FileNotFoundError | PermissionError):  # since it was checked
            return f"tls_cert, tls_key: {self.certificate!r} or {key!r} cannot be read: {error.strerror}"
        reason = str(getattr(error, "reason", "") or "")
        if reason == "KEY_VALUES_MISMATCH":
            return f"tls_key: {key!r} is not the key of the certificate in {self.certificate!r}"
        if is_encrypted and not self.password:
            return (
                f"tls_key: {key!r} is encrypted; give its password in ENFILADE_TLS_KEY_PASSWORD, or the file "
                "that has it in ENFILADE_TLS_KEY_PASSWORD_FILE"
            )
        if is_encrypted:
            return f"tls_key_password: it is not the password of {key!r}"
        if not self.key:
            return (
                f"tls_cert: {self.certificate!r} has no certificate with its key in PEM; name the key by tls_key"
            )
        return (
            f"tls_cert, tls_key: {self.certificate!r} and {key!r} are no certificate and key in PEM, the "
            "certificate of the server first"
        )

    def signature(self) -> tuple[tuple[int, int, int], ...]:
        """Return what changes when the files do; empty if one of them is not there."""
        try:
            stats = [os.stat(name) for name in (self.certificate, self.key) if name]
        except OSError:
            return ()
        return tuple((entry.st_mtime_ns, entry.st_ino, entry.st_size) for entry in stats)


def _check_readable(setting: str, name: str) -> None:
    """Refuse a file that is not there, or that this user may not read.

    Raises:
        TlsError: the text says which.
    """
    if not name:
        return
    try:
        if Path(name).is_fifo():  # to open it would wait for whoever writes
            raise TlsError(f"{setting}: {name!r} is a pipe; it has to be a file")
        with Path(name).open("rb"):
            return
    except FileNotFoundError:
        text = f"there is no file {name!r}"
    except PermissionError:
        text = f"{name!r} may not be read by this user; give it a group that the server is in, and mode 640"
    except TlsError:
        raise
    except OSError as error:
        text = f"{name!r} cannot be read: {error.strerror}"
    raise TlsError(f"{setting}: {text}")


class RenewedCertificate:
    """Takes a certificate that was renewed, without a restart.

    Args:
        context: of the connections; it hands new ones over to the context of the renewed certificate.
    """

    def __init__(self, files: TlsFiles, context: ssl.SSLContext) -> None:
        self._files = files
        self._renewed: ssl.SSLContext | None = None
        context.sni_callback = self._hand_over  # is called without a server name as well
        self._signature = files.signature()
        self._refused: tuple[tuple[int, int, int], ...] = ()

    def _hand_over(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Let a connection have the certificate that was taken last."""
        if self._renewed is not None:
            connection.context = self._renewed

    async def check(self) -> None:
        """Take what the files have, if they have changed and fit together."""
        signature = await asyncio.to_thread(self._files.signature)
        if not signature or signature in (self._signature, self._refused):
            return
        try:
            renewed = await asyncio.to_thread(self._files.context)
        except (OSError, ValueError, RuntimeError) as error:  # a RuntimeError is a thread that cannot be started
            self._refused = signature
            log.error("the renewed certificate is not taken, and the previous one stays: %s", error)
            return
        # Files that changed meanwhile have another signature, so the next check looks at them again.
        self._renewed, self._signature, self._refused = renewed, signature, ()
        log.info("new connections get the renewed certificate of %s", self._files.certificate)
