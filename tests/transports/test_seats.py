"""The one GET stream of a session, among all workers: free when its client has gone or its worker is dead."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crew import Crew, SharedMemory, crew_of
from enfilade.serving.relay import Relay
from enfilade.state.store import Store, StoreError, open_store
from enfilade.transports import seats as module
from enfilade.transports.seats import Seats
from enfilade.wire.jsonrpc import RpcError

pytestmark = pytest.mark.anyio


class Place:
    """A worker's seats."""

    def __init__(self, store: Store) -> None:
        self.relay = Relay(store)
        self.seats = Seats(self.relay)


@pytest.fixture(params=["together", "sqlite"])
async def places(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[Place]]:
    """Three workers."""
    if request.param == "together":
        stores: list[Store] = [SharedMemory()] * 3
    else:
        stores = [open_store(f"sqlite:///{tmp_path / 'state.db'}") for _ in range(3)]
    for store in stores:
        await store.start()
    places = [Place(store) for store in stores]
    for place in places:
        await place.relay.start()
    yield places
    for place in places:
        await place.relay.stop()
    for store in stores:
        await store.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANDOVER", 0.2)


async def test_it_is_one(places: list[Place]) -> None:
    """R-330, R-333: wherever it is asked for."""
    seat = await places[0].seats.take("session", 60)
    for place in places:
        with pytest.raises(RpcError) as refused:
            await place.seats.take("session", 60)
        assert refused.value.status == 409
    others = await places[1].seats.take("another session", 60)
    await places[0].seats.leave(seat)
    again = await places[2].seats.take("session", 60)
    assert [len(place.seats) for place in places] == [0, 1, 1]
    await places[1].seats.leave(others)
    await places[2].seats.leave(again)
    assert [len(place.seats) for place in places] == [0, 0, 0]


async def test_of_many_at_once_one_gets_it(places: list[Place]) -> None:
    """D8: between looking and taking there is nothing."""
    for number in range(10):
        asked = [place.seats.take(f"session {number}", 60) for place in places * 4]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(each, module.Seat) for each in found) == 1
        assert sum(isinstance(each, RpcError) and each.status == 409 for each in found) == 11


async def test_of_several_that_come_back_the_last_has_it(places: list[Place]) -> None:
    """Who comes for the rest is the client itself; those before give way, and take nothing with them."""
    taken = [await place.seats.take_over("session", 60) for place in places]
    for place, seat in zip(places[:2], taken[:2], strict=True):
        await place.seats.leave(seat)
    with pytest.raises(RpcError):
        await places[0].seats.take("session", 60)
    await places[2].seats.leave(taken[2])
    await places[0].seats.leave(await places[0].seats.take("session", 60))


async def test_a_seat_that_was_left_in_vain_is_given_back(
    places: list[Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store did not take in that it was left: whoever asks next gets it all the same."""
    seat = await places[0].seats.take("session", 60)

    async def swap(*_: object) -> bool:
        raise StoreError("out of reach")

    with monkeypatch.context() as broken:
        broken.setattr(places[0].seats._keys, "swap", swap)
        await places[0].seats.leave(seat)
    monkeypatch.setattr(module, "HANDOVER", 20.0)
    await places[1].seats.take("session", 60)


async def test_a_seat_of_the_dead_is_free(places: list[Place]) -> None:
    """Idea 2: its lease says so."""
    await places[0].seats.take("session", 60)
    await places[0].relay.store.keys.put("get:session", b"nobody:1", 60)
    await places[0].relay.store.keys.put("worker:nobody", b"\x92\xa0\x00", 0.3)
    with pytest.raises(RpcError):
        await places[1].seats.take("session", 60)
    places[1].relay._missed_since["nobody"] = float("-inf")  # nobody has heard of it for long
    async with asyncio.timeout(20):
        while True:
            try:
                await places[1].seats.take("session", 60)
            except RpcError:
                places[1].relay._missed_since["nobody"] = float("-inf")
                continue
            break


async def test_a_seat_ends_with_its_session(places: list[Place]) -> None:
    """A worker that died without a word, and whose session has expired, leaves nothing."""
    await places[0].seats.take("session", 0.2)
    async with asyncio.timeout(20):
        while await places[0].relay.store.keys.get("get:session") is not None:
            await asyncio.sleep(0.02)


async def test_a_store_that_does_not_say_takes_no_seat(
    places: list[Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs one request, and not the session's stream for ever."""

    async def refuse(*_: object) -> None:
        raise StoreError("out of reach")

    with monkeypatch.context() as broken:
        for verb in ("get", "put", "swap"):
            broken.setattr(places[0].seats._keys, verb, refuse)
        for take in (places[0].seats.take, places[0].seats.take_over):
            with pytest.raises(StoreError):
                await take("session", 60)
    assert len(places[0].seats) == 0
    await places[0].seats.take("session", 60)


class TestKnocking:
    """A client that has gone, and whose worker has not noticed: writing shows it."""

    @pytest.fixture
    async def crew(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Crew]:
        monkeypatch.setattr(module, "HANDOVER", 20.0)
        async with crew_of([f"sqlite:///{tmp_path / 'state.db'}"] * 2) as crew:
            yield crew

    @pytest.mark.parametrize("worker", [0, 1])
    async def test_a_second_stream_knocks_and_is_let_in(self, crew: Crew, worker: int) -> None:
        """S7: a comment, which clients ignore (trap 8)."""
        client = await crew.client()
        first = await client.open(0)
        second = client.get(None, worker)
        await first.until(lambda: b"\n: " in first.body)
        await first.cut()
        await second.until(lambda: second.status == 200)
        crew.apps[0].change(["tools"])
        await second.has(1)
        assert first.heard == []
