"""Client ID Metadata Documents: a client whose id is the URL of a document that describes it (X-AUTH-21).

The document is fetched as `safe_fetch` does it, kept as long as its headers say, within bounds, and one that
cannot be used is not asked for again at once.

Easy to get wrong: whoever asks for a login chooses the URL. So what is kept is bounded, several requests for one
document wait for one fetch, and this server never fetches from itself.
"""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import msgspec

from enfilade.auth.oauth_proxy.redirects import CLIENT_SCHEMES, fault_of_redirect
from enfilade.auth.pages.page import plain
from enfilade.auth.safe_fetch.fetch import BusyError, Document, SafeFetcher, UnsafeURLError
from enfilade.primitives.public_urls import split

#: Characters of the URL of a document, and of a name in it.
MOST_CHARACTERS: Final = 512
MOST_NAME: Final = 100
MOST_REDIRECTS: Final = 20
_MOST_KEPT: Final = 1000
#: Seconds for which a document is kept that does not say, at least, and at most.
_USUAL_AGE, _LEAST_AGE, _MOST_AGE = 300.0, 10.0, 86_400.0
#: Seconds for which a document that cannot be used is not asked for again, and one whose host does not answer.
_AGE_OF_BAD, _AGE_OF_AWAY = 60.0, 5.0
_MAX_AGE: Final = re.compile(r"(?:^|[\s,])max-age=\"?([0-9]{1,9})")
_DOTS: Final = re.compile(r"/(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ClientDocument:
    """What a document says.

    Args:
        host: where it is, which is who the client is.
        name: as the client calls itself.
        redirect_uris: where its logins may lead.
        needs_assertion: whether it wants to be believed only with an assertion (`private_key_jwt`).
        keys: those in the document itself; None if there are none.
        keys_url: where its keys are; None for nowhere.
        algorithm: by which its assertions are signed; None for any.
    """

    host: str
    name: str
    redirect_uris: tuple[str, ...]
    needs_assertion: bool = False
    keys: dict[str, Any] | None = None
    keys_url: str | None = None
    algorithm: str | None = None


class ClientDocuments:
    """The documents of clients.

    Args:
        fetcher: fetches them.
        own_host: of this server, from which nothing is fetched.
        schemes: private-use schemes without a dot that redirect URIs may have.
        clock: seconds of a clock that only goes forward; tests replace it.
    """

    def __init__(
        self,
        fetcher: SafeFetcher,
        own_host: str,
        schemes: Collection[str] = CLIENT_SCHEMES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetcher, self._own_host, self._schemes, self._clock = fetcher, own_host.lower(), schemes, clock
        self._kept: OrderedDict[str, tuple[float, ClientDocument | UnsafeURLError]] = OrderedDict()
        self._fetching: WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[str, asyncio.Task[ClientDocument | UnsafeURLError]]
        ] = WeakKeyDictionary()

    def is_document(self, client_id: str) -> bool:
        """Whether a client id has the form of the URL of a document; nothing is fetched."""
        parts, host = split(client_id)
        if not client_id.startswith("https://") or host is None or len(client_id) > MOST_CHARACTERS:
            return False
        # A query would let a client have many ids, and lead back here.
        if parts.path in ("", "/") or "?" in client_id or "#" in client_id or _DOTS.search(parts.path):
            return False
        if host.lower() == self._own_host:
            return False
        try:
            self._fetcher.check(client_id)
        except UnsafeURLError:
            return False
        return True

    async def get(self, client_id: str) -> ClientDocument:
        """Return the document of a client.

        Raises:
            UnsafeURLError: there is none that can be used; the text says why.
        """
        expires_at, kept = self._kept.get(client_id, (0.0, None))
        if kept is None or expires_at <= self._clock():
            kept = await self._fetched_once(client_id)
        else:
            self._kept.move_to_end(client_id)
        if isinstance(kept, UnsafeURLError):
            raise UnsafeURLError(str(kept), is_final=kept.is_final)
        return kept

    async def _fetched_once(self, client_id: str) -> ClientDocument | UnsafeURLError:
        """Fetch a document, or wait for whoever fetches it in this event loop."""
        fetching = self._fetching.setdefault(asyncio.get_running_loop(), {})
        task = fetching.get(client_id)
        if task is None:
            task = fetching[client_id] = asyncio.create_task(self._fetch(client_id))
            task.add_done_callback(lambda _: fetching.pop(client_id, None))
        return await asyncio.shield(task)

    async def _fetch(self, client_id: str) -> ClientDocument | UnsafeURLError:
        result: ClientDocument | UnsafeURLError
        try:
            document = await self._fetcher.get(client_id)
            result, age = self._read(client_id, document), _age(document.headers)
        except BusyError as error:  # says nothing of this document
            return error
        except UnsafeURLError as error:
            result, age = error, _AGE_OF_BAD if error.is_final else _AGE_OF_AWAY
        self._kept[client_id] = self._clock() + age, result
        self._kept.move_to_end(client_id)
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return result

    def _read(self, client_id: str, document: Document) -> ClientDocument:
        """Return what a document says.

        Raises:
            UnsafeURLError: it is no document of this client.
        """
        kind = document.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
            raise UnsafeURLError("the document is not application/json")
        try:
            members: Any = msgspec.json.decode(document.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise UnsafeURLError("the document is no JSON") from None
        if not isinstance(members, dict) or members.get("client_id") != client_id:
            raise UnsafeURLError("client_id in the document is not its URL")
        name, uris = members.get("client_name"), members.get("redirect_uris")
        if not isinstance(name, str) or not plain(name):
            raise UnsafeURLError("the document has no client_name")
        methods = _methods(members)
        if not isinstance(uris, list) or not 0 < len(uris) <= MOST_REDIRECTS:
            raise UnsafeURLError(f"the document has not 1 to {MOST_REDIRECTS} redirect_uris")
        allowed = tuple(uri for uri in uris if not fault_of_redirect(uri, self._schemes))
        if not allowed:
            raise UnsafeURLError("the document has no redirect URI that is safe")
        keys, keys_url, algorithm = (
            members.get(name) for name in ("jwks", "jwks_uri", "token_endpoint_auth_signing_alg")
        )
        return ClientDocument(
            host=urlsplit(client_id).netloc,
            name=plain(name, MOST_NAME),
            redirect_uris=allowed,
            needs_assertion="none" not in methods,
            keys=keys if isinstance(keys, dict) else None,
            keys_url=keys_url if isinstance(keys_url, str) else None,
            algorithm=algorithm if isinstance(algorithm, str) else None,
        )


def _methods(members: dict[str, Any]) -> set[str]:
    """Return how a client authenticates that has a document: by its keys, or not at all.

    Raises:
        UnsafeURLError: by a secret, which nobody could know who reads the document.
    """
    others = members.get("token_endpoint_auth_methods_supported", [])
    method = members.get("token_endpoint_auth_method", "none")
    named = {each for each in (method, *(others if isinstance(others, list) else ())) if isinstance(each, str)}
    methods = named & {"none", "private_key_jwt"}
    if not methods or "client_secret" in members:
        raise UnsafeURLError(
            "the document needs token_endpoint_auth_method none or private_key_jwt, and no secret"
        )
    return methods


def _age(headers: Mapping[str, str]) -> float:
    """Return for how many seconds a document is kept."""
    control = headers.get("cache-control", "").lower()
    if "no-store" in control or "no-cache" in control:
        return _LEAST_AGE
    match = _MAX_AGE.search(control)
    age = float(match[1]) - _number(headers.get("age", "")) if match else _USUAL_AGE
    return min(max(age, _LEAST_AGE), _MOST_AGE)


def _number(text: str) -> float:
    return float(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0.0
