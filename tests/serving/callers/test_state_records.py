"""B13: what is kept for callers is theirs alone, bounded, encrypted, and loses no update, on every store."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from enfilade.serving.callers import state_records, state_values
from enfilade.serving.callers.state import State
from enfilade.serving.callers.state_records import MOST_BYTES, MOST_VALUES, StateStore
from enfilade.serving.callers.state_values import MOST_VALUE_BYTES, StateError, Values, stored_value
from enfilade.serving.channel import Channel, Peer
from enfilade.serving.principal import Principal
from enfilade.serving.request import Request
from enfilade.state.open import open_store
from enfilade.state.store import Store, StoreError
from enfilade.state.tokens import Seal
from support.stores.kinds import opened, plain_connection
from support.waiting import until

pytestmark = pytest.mark.anyio

OLD, NEW = "o" * 32, "n" * 32
REVISION = "2025-11-25"


def state_of(
    records: StateStore, principal: str | None = None, session: str | None = None, connection: Any = None
) -> State:
    """Return `ctx.state` of a call."""
    peer = Peer(revision=REVISION, principal=principal, session_id=session)
    request = Request(1, "tools/call", None, peer, Channel(session=connection))
    return State(request, lambda: records)


def records_in(store: Store, *secrets: str, server: str = "server") -> StateStore:
    """Return the records of a worker."""
    return StateStore(server, lambda: store, Seal(secrets))


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    async with opened(store_url) as store:
        yield store


@pytest.fixture
def records(store: Store) -> StateStore:
    return records_in(store)


class Connection:
    """A connection that is its own session."""


# -- values ----------------------------------------------------------------------------------------------------

VALUES: dict[str, Any] = {
    "null": None,
    "flag": True,
    "number": 2**70,
    "fraction": -0.5,
    "text": "ключ \N{CLOWN FACE}\0",
    "nested": {"a": [1, {"b": None}], "": []},
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
async def test_a_value_comes_back_as_it_was(records: StateStore, value: Any) -> None:
    state = state_of(records, "ada")
    assert await state.get("key", "default") == "default"
    await state.set("key", value)
    assert await state_of(records, "ada").get("key", "default") == value


async def test_values_are_replaced_listed_and_deleted(records: StateStore) -> None:
    state = state_of(records, "ada")
    for key, value in (("b", 1), ("a", 2), ("b", 3)):
        await state.set(key, value)
    assert (await state.keys(), await state.get("b")) == (["a", "b"], 3)
    await state.delete("b")
    await state.delete("b")
    assert (await state.keys(), await state.get("b"), await state.get("a")) == (["a"], None, 2)
    await state.set("c", 1)
    await state.clear()
    assert await state.keys() == []


async def test_nothing_is_left_in_the_store_when_the_last_value_is_deleted(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path / 'state.db'}") as store:
        state = state_of(records_in(store), "ada")
        await state.set("key", 1)
        assert len(rows(tmp_path / "state.db")) == 1
        await state.delete("key")
    assert rows(tmp_path / "state.db") == {}


NOT_JSON: dict[str, tuple[Any, str]] = {
    "an object": ({"a": [1, object()]}, r"the value\['a'\]\[1\] is of type object"),
    "a set": ({1}, "the value is of type set"),
    "bytes": ([b"x"], r"the value\[0\] is of type bytes"),
    "a number as key": ({"a": {1: 2}}, r"the value\['a'\] has a key of type int"),
    "infinity": ({"a": float("inf")}, r"the value\['a'\] is inf"),
    "half a pair": (["\ud800"], r"the value\[0\] holds half of a surrogate pair"),
    "half a pair as key": ({"\ud800": 1}, "a key of the value holds half of a surrogate pair"),
}


@pytest.mark.parametrize(("value", "text"), NOT_JSON.values(), ids=NOT_JSON)
async def test_what_is_no_json_is_refused_with_its_place(records: StateStore, value: Any, text: str) -> None:
    state = state_of(records, "ada")
    with pytest.raises(TypeError, match=text):
        await state.set("key", value)
    assert await state.keys() == []


async def test_a_value_that_holds_itself_is_refused(records: StateStore) -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(TypeError, match="nested deeper"):
        await state_of(records, "ada").set("key", value)


@pytest.mark.parametrize(
    ("key", "error"),
    [("", ValueError), ("k" * 257, ValueError), ("\ud800", ValueError), (1, TypeError), (None, TypeError)],
    ids=["empty", "long", "half a pair", "number", "none"],
)
async def test_a_key_is_a_text_of_1_to_256_characters(
    records: StateStore, key: Any, error: type[Exception]
) -> None:
    state = state_of(records, "ada")
    for call in (state.get, state.delete, lambda key: state.set(key, 1), lambda key: state.update(key, str)):
        with pytest.raises(error, match=r"a key of ctx\.state"):
            await call(key)
    await state.set("\N{CLOWN FACE}" * 256, 1)
    assert await state.get("\N{CLOWN FACE}" * 256) == 1


# -- time ------------------------------------------------------------------------------------------------------


async def test_a_value_is_gone_when_its_time_is_over(records: StateStore) -> None:
    state = state_of(records, "ada")
    await state.set("long", 1)
    await state.set("short", 2, ttl=0.05)

    async def is_gone() -> bool:
        return await state.get("short") is None

    await until(is_gone)
    assert await state.keys() == ["long"]
    assert await state.update("short", lambda value: value + 1, default=0) == 1, "it begins anew"


async def test_values_are_kept_for_30_days(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    state, day = state_of(records_in(store), "ada"), 24 * 3600.0
    await state.set("usual", 1)
    await state.set("short", 2, ttl=day)
    now = state_values.time.time()
    for days, keys in ((0.9, ["short", "usual"]), (29.9, ["usual"]), (30.1, [])):
        monkeypatch.setattr(state_values.time, "time", lambda days=days: now + days * day)
        assert await state.keys() == keys


@pytest.mark.parametrize(
    ("ttl", "error"),
    [(0, ValueError), (-1, ValueError), (float("nan"), ValueError), (True, TypeError), ("1", TypeError)],
    ids=["zero", "negative", "nan", "flag", "text"],
)
async def test_a_ttl_is_a_number_of_seconds(records: StateStore, ttl: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="ttl is a number of seconds"):
        await state_of(records, "ada").set("key", 1, ttl=ttl)


# -- limits ----------------------------------------------------------------------------------------------------


async def test_a_value_has_64_kib(records: StateStore) -> None:
    state = state_of(records, "ada")
    await state.set("key", "é" * ((MOST_VALUE_BYTES - 2) // 2))
    with pytest.raises(StateError, match="at most 65536 bytes as JSON, and this one has 65537"):
        await state.set("key", "x" * (MOST_VALUE_BYTES - 1))
    assert str(await state.get("key")).startswith("éé")


async def test_a_caller_has_1_mib(records: StateStore) -> None:
    state, value = state_of(records, "ada"), "x" * (MOST_VALUE_BYTES - 2)
    for number in range(MOST_BYTES // MOST_VALUE_BYTES - 1):
        await state.set(f"key {number}", value)
    with pytest.raises(StateError, match=r"At most 1048576 bytes .* keys and values together, .* be 104"):
        await state.set("more", value)
    await state.set("key 0", value)
    await state.delete("key 0")
    await state.set("more", 1)
    await state_of(records, "bob").set("more", value)


async def test_keys_count_as_well(records: StateStore) -> None:
    """B13: what is limited is the record as it is stored, with keys of four bytes a character."""
    state = state_of(records, "ada")

    def fill(values: Values) -> None:
        values.update(
            {f"{number:04}{chr(0x1F600) * 252}": stored_value("x" * 500, None) for number in range(1024)}
        )

    with pytest.raises(StateError, match=r"At most 1048576 bytes .* keys and values together"):
        await records.change(state._request, fill)
    assert await state.keys() == []


async def test_a_caller_has_1024_values(records: StateStore) -> None:
    state = state_of(records, "ada")

    def fill(values: Values) -> None:
        values.update({str(number): stored_value(number, None) for number in range(MOST_VALUES)})

    await records.change(state._request, fill)
    with pytest.raises(StateError, match="At most 1024 values"):
        await state.set("more", 1)
    assert len(await state.keys()) == MOST_VALUES


# -- whose it is -----------------------------------------------------------------------------------------------


async def test_nobody_reads_what_is_another_ones(store: Store) -> None:
    """Also not the same subject of another issuer, a session by the name of a user, or another server."""
    records = records_in(store, NEW)
    ada = [
        Principal("ada").key,
        Principal("ada", issuer="https://a.example").key,
        Principal("ada", issuer="https://b.example").key,
    ]
    one, other = Connection(), Connection()
    callers = [
        *(state_of(records, key) for key in ada),
        state_of(records, session="ada"),
        state_of(records, session="eve"),
        state_of(records, connection=one),
        state_of(records, connection=other),
        state_of(records_in(store, NEW, server="another"), "ada"),
    ]
    for number, state in enumerate(callers):
        assert await state.keys() == []
        await state.set("key", number)
    assert [await state.get("key") for state in callers] == list(range(len(callers)))


async def test_a_user_has_one_state_over_all_sessions(records: StateStore) -> None:
    await state_of(records, "ada", session="1").set("key", "kept")
    for session in ("1", "2", None):
        assert await state_of(records, "ada", session=session).get("key") == "kept"


METHODS: dict[str, Callable[[State], Any]] = {
    "get": lambda state: state.get("key"),
    "set": lambda state: state.set("key", 1),
    "delete": lambda state: state.delete("key"),
    "update": lambda state: state.update("key", str),
    "keys": lambda state: state.keys(),
    "clear": lambda state: state.clear(),
}


@pytest.mark.parametrize("call", METHODS.values(), ids=METHODS)
async def test_without_a_user_and_a_session_the_way_is_a_handle(records: StateStore, call: Any) -> None:
    with pytest.raises(StateError, match=r"return a handle .* from one tool, and take it as an argument"):
        await call(state_of(records))


async def test_state_of_a_connection_never_leaves_the_process(tmp_path: Path) -> None:
    connection = Connection()
    async with opened(f"sqlite:///{tmp_path / 'state.db'}") as store:
        records = records_in(store)
        await state_of(records, connection=connection).set("key", 1)
        assert await state_of(records, connection=connection).get("key") == 1
        del connection
        assert len(records._connections) == 0
    assert rows(tmp_path / "state.db") == {}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ada", "bob", '["https://a.example","ada"]']),
            st.sampled_from(["set", "add", "delete"]),
            st.sampled_from(["a", "b"]),
            st.integers(-5, 5),
        ),
        max_size=30,
    )
)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_each_of_interleaved_callers_sees_what_it_has_done(
    kind: str, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str, int]]
) -> None:
    """Each step is by a worker of its own, as a caller may meet any."""
    folder = tmp_path_factory.mktemp("state")
    url = "memory://" if kind == "memory" else f"sqlite:///{folder / 'state.db'}"

    async def scenario() -> None:
        expected: dict[str, dict[str, int]] = {"ada": {}, "bob": {}, '["https://a.example","ada"]': {}}
        async with opened(url) as store:
            for principal, action, key, number in steps:
                state, own = state_of(records_in(store, NEW), principal), expected[principal]
                if action == "set":
                    own[key] = number
                    await state.set(key, number)
                elif action == "add":
                    own[key] = own.get(key, 0) + number
                    assert await state.update(key, lambda old, number=number: old + number, 0) == own[key]
                else:
                    own.pop(key, None)
                    await state.delete(key)
            for principal, own in expected.items():
                state = state_of(records_in(store, NEW), principal)
                assert {key: await state.get(key) for key in await state.keys()} == own

    asyncio.run(scenario())


# -- updates at once -------------------------------------------------------------------------------------------


async def test_updates_at_once_lose_nothing(store: Store) -> None:
    """By four workers, each with a part of the updates, of the same value and of others of the same caller."""
    workers = [records_in(store, NEW) for _ in range(4)]

    async def add(number: int) -> None:
        state = state_of(workers[number % 4], "ada")
        await state.update("sum", lambda value: value + number, default=0)
        await state.set(f"key {number}", number)

    await asyncio.gather(*(add(number) for number in range(40)))
    state = state_of(workers[0], "ada")
    assert await state.get("sum") == sum(range(40))
    assert len(await state.keys()) == 41


async def test_an_update_that_fails_changes_nothing(records: StateStore) -> None:
    state = state_of(records, "ada")
    await state.set("key", 1)
    with pytest.raises(ZeroDivisionError):
        await state.update("key", lambda value: value / 0)
    with pytest.raises(TypeError, match="is of type object"):
        await state.update("key", lambda value: object())
    assert await state.get("key") == 1


async def test_the_default_of_an_update_is_not_changed(records: StateStore) -> None:
    default: list[int] = []

    def append(value: list[int]) -> list[int]:
        value.append(1)
        return value

    assert await state_of(records, "ada").update("key", append, default) == [1]
    assert default == []


async def test_the_function_of_an_update_is_a_plain_one(records: StateStore) -> None:
    async def awaits(value: int) -> int:
        return value

    function: Any = awaits
    with pytest.raises(TypeError, match="must be a plain `def`"):
        await state_of(records, "ada").update("key", function)
    function = 5
    with pytest.raises(TypeError, match="takes a function"):
        await state_of(records, "ada").update("key", function)


async def test_a_change_that_never_succeeds_ends(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> bool:
        return False

    monkeypatch.setattr(store.keys, "swap", refuse)
    monkeypatch.setattr(state_records, "_LONGEST_PAUSE", 0)
    with pytest.raises(StateError, match="try again"):
        await state_of(records_in(store, NEW), "ada").set("key", 1)


# -- at rest ---------------------------------------------------------------------------------------------------


def rows(path: Path) -> dict[str, bytes]:
    """Return the records in a file, by their names."""
    with plain_connection(path) as connection:
        found = connection.execute("SELECT key, value FROM keys WHERE key LIKE '%state:%'").fetchall()
    return dict(found)


async def test_the_file_shows_neither_values_nor_keys_nor_callers(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path / 'state.db'}") as store:
        state = state_of(records_in(store, NEW), "canary-user")
        await state.set("canary-key", "canary-value")
        assert len(rows(tmp_path / "state.db")) == 1
    for file in tmp_path.iterdir():
        assert b"canary" not in file.read_bytes(), file.name


async def test_rows_that_are_exchanged_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with opened(f"sqlite:///{path}") as store:
        states = [state_of(records_in(store, NEW), name) for name in ("ada", "bob")]
        for state in states:
            await state.set("key", "own")
        (one, first), (other, second) = rows(path).items()
        with plain_connection(path) as connection:
            connection.executemany("UPDATE keys SET value = ? WHERE key = ?", [(second, one), (first, other)])
        for state in states:
            for call in (state.get("key"), state.set("key", 1), state.keys(), state.update("key", str)):
                with pytest.raises(StoreError, match="cannot be decrypted"):
                    await call
        assert set(rows(path).values()) == {first, second}, "nothing was overwritten"
        await states[0].clear()
        assert await states[0].get("key") is None


async def test_values_outlast_a_change_of_the_secret(store: Store) -> None:
    before, during, after = (records_in(store, *secrets) for secrets in ((OLD,), (NEW, OLD), (NEW,)))
    for name in ("ada", "bob"):
        await state_of(before, name).set("key", "kept")
        assert await state_of(during, name).get("key") == "kept"
    await state_of(during, "ada").set("other", 1)  # which encrypts all that is ada's anew
    assert await state_of(after, "ada").get("key") == "kept"
    with pytest.raises(StoreError, match=r"secret=\[new, old\]"):
        await state_of(after, "bob").get("key")


async def test_workers_without_a_secret_share_one(tmp_path: Path) -> None:
    """Also one that was made while another worker was at work already."""
    url = f"sqlite:///{tmp_path / 'state.db'}"
    async with opened(url) as one, opened(url) as other:
        first, second = records_in(one), records_in(other)
        await state_of(first, "ada").set("key", 1)
        assert await state_of(second, "ada").update("key", lambda value: value + 1) == 2
        assert await state_of(first, "ada").get("key") == 2


async def test_the_store_is_opened_when_it_is_needed_and_closed(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'state.db'}")
    records = records_in(store)
    for _ in range(2):
        assert await state_of(records, "ada").update("key", lambda value: value + 1, 0) > 0
        await records.close()
        with pytest.raises(StoreError):
            await store.keys.get("key")
