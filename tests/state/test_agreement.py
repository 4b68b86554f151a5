"""Workers that share a store have the same secrets, however they start, and whatever the store loses.

Processes race here as well as tasks: two that find no secret at the same moment must end with one.
"""

import asyncio
import multiprocessing
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.managers import SyncManager
from typing import Any

import pytest

from enfilade.state.open import open_store
from enfilade.state.store import Keys, StoreError
from enfilade.state.tokens import Seal
from support.stores.kinds import Open

pytestmark = pytest.mark.anyio

PURPOSE = b"session"
PROCESSES = 4
ROUNDS = 5


class AtOnce:
    """`Keys` whose first look waits until all have looked, as processes do that start at the same moment."""

    def __init__(self, keys: Keys, barrier: asyncio.Barrier) -> None:
        self._keys, self._barrier = keys, barrier
        self._waited = False
        self.put, self.swap, self.delete = keys.put, keys.swap, keys.delete

    async def get(self, key: str) -> bytes | None:
        value = await self._keys.get(key)
        if not self._waited:
            self._waited = True
            await self._barrier.wait()
        return value


def open_each_other(seals: Sequence[Seal]) -> bool:
    tokens = [seal.seal(b"x", PURPOSE) for seal in seals]
    return all(seal.open(token, PURPOSE) == b"x" for seal in seals for token in tokens)


@pytest.mark.parametrize("count", [2, 5])
async def test_workers_that_start_at_once_end_with_one_secret(shared_url: str, opened: Open, count: int) -> None:
    barrier = asyncio.Barrier(count)
    seals = [Seal() for _ in range(count)]
    stores = [await opened(shared_url) for _ in seals]
    agreements = await asyncio.gather(
        *(seal.agree(AtOnce(store.keys, barrier)) for seal, store in zip(seals, stores, strict=True))
    )
    assert open_each_other(seals)
    assert sum(agreement.created for agreement in agreements) == 1
    later = Seal()
    assert not any(await later.agree(stores[0].keys))
    assert open_each_other([later, *seals])


async def test_a_worker_that_lives_puts_its_secret_back(shared_url: str, opened: Open) -> None:
    store, living, late = await opened(shared_url), Seal(), Seal()
    assert (await living.agree(store.keys)).created
    token = living.seal(b"x", PURPOSE)
    await store.keys.delete("secret")
    assert (await living.agree(store.keys)).restored
    assert not any(await late.agree(store.keys))
    assert late.open(token, PURPOSE) == b"x"


async def test_the_older_of_two_secrets_seals_and_both_open(shared_url: str, opened: Open) -> None:
    """Whichever worker looks first."""
    store, old, new = await opened(shared_url), Seal(), Seal()
    await old.agree(store.keys)
    await store.keys.delete("secret")
    await asyncio.sleep(0.01)  # of which the age of secrets is told in milliseconds
    assert (await new.agree(store.keys)).created
    tokens = [seal.seal(b"x", PURPOSE) for seal in (old, new)]
    assert old.open(tokens[1], PURPOSE) is new.open(tokens[0], PURPOSE) is None, "they have split"
    signature = new.sign(b"y", PURPOSE)
    first = await old.agree(store.keys)
    assert (first.restored, first.learned) == (True, True)
    second = await new.agree(store.keys)
    assert (second.restored, second.learned) == (False, True)
    assert [seal.open(token, PURPOSE) for seal in (old, new) for token in tokens] == [b"x"] * 4
    assert old.verify(b"y", signature, PURPOSE)
    only_old = Seal([(await _stored(store.keys))[0]])
    for seal in (old, new):
        assert only_old.open(seal.seal(b"z", PURPOSE), PURPOSE) == b"z", "the older one seals from now on"
        assert not any(await seal.agree(store.keys)), "nothing is left to do"


async def test_any_number_of_secrets_converge_in_any_order(shared_url: str, opened: Open) -> None:
    """Each of these was alone with an empty store once. The last eight of them are kept, and the oldest."""
    store = await opened(shared_url)
    seals = [Seal() for _ in range(12)]
    for seal in seals:
        await store.keys.delete("secret")
        await seal.agree(store.keys)
        await asyncio.sleep(0.002)
    oldest = (await _own(seals[0], store.keys))[0]
    chance = random.Random(7)
    for _ in range(3):
        chance.shuffle(seals)
        for seal in seals:
            await seal.agree(store.keys)
    assert not any([any(await seal.agree(store.keys)) for seal in seals])
    assert open_each_other(seals)
    stored = await _stored(store.keys)
    assert len(stored) == 8
    assert stored[0] == oldest


async def test_a_secret_of_an_older_version_is_the_oldest(shared_url: str, opened: Open) -> None:
    """Those carry no time."""
    store, new = await opened(shared_url), Seal()
    await new.agree(store.keys)
    before = b"a-secret_of-an-older-version-of-this-package"
    await store.keys.put("secret", before, None)
    await new.agree(store.keys)
    assert (await _stored(store.keys))[0] == before
    assert Seal([before]).open(new.seal(b"x", PURPOSE), PURPOSE) == b"x"


async def test_a_given_secret_neither_reads_nor_writes_the_store(shared_url: str, opened: Open) -> None:
    store, given = await opened(shared_url), Seal(["a secret of thirty-two characters"])
    assert not any(await given.agree(store.keys))
    assert await store.keys.get("secret") is None


async def test_a_store_that_takes_nothing_is_an_error_and_changes_nothing(shared_url: str, opened: Open) -> None:
    store, seal = await opened(shared_url), Seal()
    await seal.agree(store.keys)
    token = seal.seal(b"x", PURPOSE)
    await store.keys.delete("secret")

    class Refusing(AtOnce):
        def __init__(self) -> None:
            super().__init__(store.keys, asyncio.Barrier(1))

            async def refuse(*_: Any) -> bool:
                raise StoreError("full")

            self.swap = refuse

    with pytest.raises(StoreError):
        await seal.agree(Refusing())
    assert seal.open(token, PURPOSE) == b"x"
    with pytest.raises(StoreError):
        await Seal().agree(Refusing())


async def _stored(keys: Keys) -> list[bytes]:
    return (await keys.get("secret") or b"").split(b"\n")


async def _own(seal: Seal, keys: Keys) -> list[bytes]:
    await keys.delete("secret")
    await seal.agree(keys)
    return await _stored(keys)


# -- processes -------------------------------------------------------------------------------------------------


def _agree(url: str, barrier: Any, rounds: int) -> list[str]:
    """Be a worker: agree at the same moment as the others, as often as asked, each time with an empty store."""

    async def agreed() -> str:
        store, seal = open_store(url), Seal()
        await store.start()
        try:
            await asyncio.to_thread(barrier.wait, 60)
            await seal.agree(store.keys)
            token = seal.seal(b"x", PURPOSE)
            if await asyncio.to_thread(barrier.wait, 60) == 0:
                await store.keys.delete("secret")
            await asyncio.to_thread(barrier.wait, 60)
            return f"{token} {seal.sign(b'x', PURPOSE).hex()}"
        finally:
            await store.close()

    return [asyncio.run(agreed()) for _ in range(rounds)]


def test_processes_that_start_at_once_end_with_one_secret(shared_url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    with spawn.Manager() as manager, ProcessPoolExecutor(PROCESSES, mp_context=spawn) as pool:
        barrier = _barrier(manager)
        futures = [pool.submit(_agree, shared_url, barrier, ROUNDS) for _ in range(PROCESSES)]
        outcomes = [future.result(120) for future in futures]
    for round in zip(*outcomes, strict=True):
        signatures = {outcome.split()[1] for outcome in round}
        assert len(signatures) == 1, "workers that started at once have different secrets"


def _barrier(manager: SyncManager) -> Any:
    return manager.Barrier(PROCESSES)
