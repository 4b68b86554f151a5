"""API keys: long random texts that an operator hands out. The configuration has their digests alone (B4)."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final

from enfilade.serving.principal import Principal

_PREFIX: Final = "sha256:"
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
#: A name of a header (RFC 9110 §5.1); what a key must not come in, since others read it as something else.
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OTHER_HEADERS: Final = ("authorization", "cookie", "host", "content-type", "content-length")
_LONGEST_KEY: Final = 4096


def hash_key(key: str) -> str:
    """Return the digest of an API key, as `APIKeys` takes it and `enfilade auth hash-key` prints it.

    Keys are random, so that one round of SHA-256 is enough. A password that somebody has thought of is no key.

    Raises:
        ValueError: the key is empty, or has characters that no header may have.
    """
    if not key:
        raise ValueError("the key is empty")
    if not key.isascii() or not key.isprintable() or " " in key or len(key) > _LONGEST_KEY:
        raise ValueError(
            f"a key has letters, digits and punctuation of ASCII without spaces, {_LONGEST_KEY} at most: it is "
            "sent in an HTTP header"
        )
    return _PREFIX + hashlib.sha256(key.encode("ascii")).hexdigest()


class APIKeys:
    """Verifies API keys.

    Args:
        keys: who calls, by the digest of the key: `{"sha256:…": Principal("ci")}`. A key ends with the
            `expires_at` of its principal and the `leeway` of the server, if there is one.
        header: a header in which keys may come besides `Authorization: Bearer`, such as `X-API-Key`.

    Raises:
        TypeError, ValueError: a digest is none, a value is no `Principal`, or the header has no such name.
    """

    def __init__(self, keys: Mapping[str, Principal], *, header: str | None = None) -> None:
        if not hasattr(keys, "items"):
            raise TypeError(f"APIKeys takes digests and principals, not {type(keys).__name__}: {_EXAMPLE}")
        entries = {}
        for position, (digest, principal) in enumerate(keys.items(), 1):
            text = str(digest).lower()
            if not _DIGEST.fullmatch(text):
                # Without the text: whoever writes a plain key here must not find it in a log.
                raise ValueError(
                    f"entry {position} of APIKeys is no digest sha256: with 64 hexadecimal digits. Keys "
                    f"themselves are not kept here: `enfilade auth hash-key` makes the digest of one: {_EXAMPLE}"
                )
            if not isinstance(principal, Principal):
                raise TypeError(
                    f"entry {position} of APIKeys is {type(principal).__name__}, no Principal: {_EXAMPLE}"
                )
            entries[text] = principal
        if header is not None and (not _HEADER.fullmatch(header) or header.lower() in _OTHER_HEADERS):
            raise ValueError(f"header= is the name of a header of its own, such as 'X-API-Key', not {header!r}")
        self.header = header
        self._entries = entries

    def __repr__(self) -> str:
        return f"APIKeys({len(self._entries)} keys, header={self.header!r})"

    async def verify_token(self, token: str) -> Principal | None:
        """Return who has a key, or None if nobody has it.

        Whether the key has ended is checked by whoever asks, as for every verifier (`check_expiry`).
        """
        try:
            presented = hash_key(token)
        except ValueError:
            return None
        match = None
        for digest, principal in self._entries.items():  # all of them, and each in the same time
            if hmac.compare_digest(digest, presented):
                match = principal
        return match


_EXAMPLE: Final = 'APIKeys({"sha256:…": Principal("ci")})'
