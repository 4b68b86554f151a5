"""What every store must do with records of tasks, whatever is behind it."""

import asyncio
import time

import msgspec
import pytest
from hypothesis import given, strategies as st

from enfilade.state.store import Store, StoreError
from enfilade.state.tasks.records import (
    MOST_TAKEN,
    Created,
    Due,
    Full,
    NewTask,
    TaskRecord,
    Tasks,
    creation_of,
    cursor_of,
    id_at,
    position_of,
    tasks_of,
)
from support.stores.kinds import Open
from support.stores.task_records import LONG, ids, new_task
from support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def tasks(store: Store) -> Tasks:
    return tasks_of(store)


async def read(tasks: Tasks, id: str) -> TaskRecord:
    record = await tasks.read(id)
    assert record is not None
    return record


async def is_gone(tasks: Tasks, id: str) -> bool:
    return await tasks.read(id) is None


class TestCreating:
    async def test_a_task_is_created_once(self, tasks: Tasks) -> None:
        assert await tasks.read("a") is None
        before = time.time()
        assert await tasks.create(new_task("a")) == Created()
        assert await tasks.create(new_task("a", value=b"other")) == Created(), "sent again"
        record = await read(tasks, "a")
        assert (record.id, record.owner, record.value, record.version) == ("a", "ada", b"new", 1)
        assert before - 0.001 <= record.created <= time.time() + 0.001
        assert record.due is not None
        assert LONG - 60 < record.due <= LONG
        assert len(await tasks.page(None, None, 10)) == 1

    async def test_values_are_any_bytes_and_may_be_large(self, tasks: Tasks) -> None:
        large, empty = bytes(range(256)) * 12_000, b""
        assert await tasks.create(new_task("ä/: \0", owner="ö\n", value=large)) == Created()
        assert (await read(tasks, "ä/: \0")).value == large
        assert await tasks.write("ä/: \0", 1, empty, due=0.0, ttl=None)
        assert (await read(tasks, "ä/: \0")).value == empty
        assert await tasks.write("ä/: \0", 2, large, due=-1.0, ttl=None)
        [taken] = (await tasks.take_due(LONG, 1)).tasks
        assert (taken.id, taken.owner, taken.value) == ("ä/: \0", "ö\n", large)
        assert [record.value for record in await tasks.page("ö\n", None, 5)] == [large]

    async def test_an_owner_has_so_many_and_all_have(self, tasks: Tasks) -> None:
        async def create(id: str, owner: str) -> Created | Full:
            return await tasks.create(new_task(id, owner=owner, own_limit=3, limit=5))

        decisions = [await create(f"a{number}", "ada") for number in range(5)]
        assert decisions == [Created()] * 3 + [Full(is_own=True)] * 2
        assert [await create(f"b{number}", "bob") for number in range(3)] == [Created()] * 2 + [Full()]
        assert await create("a0", "ada") == Created(), "it is there"
        await tasks.delete("a1")
        await tasks.delete("a1")
        assert await create("b2", "bob") == Created()
        assert await create("a3", "ada") == Full()
        await tasks.delete("b2")
        assert await create("a3", "ada") == Created()

    async def test_what_is_no_longer_kept_makes_room(self, tasks: Tasks) -> None:
        """However many of these there are: more than one operation removes."""
        count = 150
        for number in range(count):
            await tasks.create(new_task(f"a{number}", own_limit=count, limit=count))
        assert await tasks.create(new_task("b", owner="bob", limit=count)) == Full()
        assert await tasks.create(new_task("b", own_limit=count)) == Full(is_own=True)
        for number in range(count):
            assert await tasks.write(f"a{number}", 1, b"done", due=None, ttl=0.01)
        await until(lambda: is_gone(tasks, f"a{count - 1}"))
        for number in range(count):
            assert await tasks.create(new_task(f"b{number}", own_limit=count, limit=count)) == Created()
        assert await tasks.create(new_task("c", own_limit=count)) == Full(is_own=True)

    async def test_what_others_no_longer_keep_is_in_nobodys_way(self, tasks: Tasks) -> None:
        """Also if all of that went before."""
        for owner, count in (("bob", 100), ("ada", 3)):
            for number in range(count):
                await tasks.create(new_task(f"{owner}{number}", owner=owner, own_limit=count))
                assert await tasks.write(f"{owner}{number}", 1, b"done", due=None, ttl=0.7)
        await until(lambda: is_gone(tasks, "ada2"))
        assert await tasks.create(new_task("new", own_limit=2)) == Created()

    async def test_nobody_may_have_one_where_the_limit_is_nought(self, tasks: Tasks) -> None:
        assert await tasks.create(new_task("a", own_limit=0)) == Full(is_own=True)
        assert await tasks.create(new_task("a", limit=0)) == Full()


class TestWriting:
    async def test_who_has_the_version_writes(self, tasks: Tasks) -> None:
        await tasks.create(new_task("a"))
        assert await tasks.write("a", 1, b"one", due=LONG, ttl=None)
        assert await tasks.write("a", 1, b"one", due=LONG, ttl=None), "sent again"
        assert not await tasks.write("a", 1, b"other", due=LONG, ttl=None), "another one was faster"
        assert await tasks.write("a", 2, b"two", due=LONG, ttl=None)
        assert not await tasks.write("a", 1, b"one", due=LONG, ttl=None)
        assert not await tasks.write("a", 4, b"four", due=LONG, ttl=None)
        assert not await tasks.write("b", 1, b"", due=LONG, ttl=None)
        record = await read(tasks, "a")
        assert (record.value, record.version) == (b"two", 3)

    async def test_who_was_overtaken_writes_nothing_new(self, tasks: Tasks) -> None:
        """Although the version is the next one and the value the same, that version is of the one who took it."""
        await tasks.create(new_task("a", -1.0, value=b"same"))
        assert [(await tasks.take_due(-1.0, 1)).tasks[0].version for _ in range(2)] == [2, 3]
        assert not await tasks.write("a", 2, b"same", due=LONG, ttl=None)
        assert await tasks.write("a", 3, b"same", due=-1.0, ttl=None)
        assert await tasks.write("a", 3, b"same", due=-1.0, ttl=None), "sent again"
        assert (await tasks.take_due(LONG, 1)).tasks[0].version == 5
        assert not await tasks.write("a", 4, b"same", due=LONG, ttl=None)

    async def test_a_finished_task_is_never_due_and_kept_for_a_while(self, tasks: Tasks) -> None:
        await tasks.create(new_task("a", due=0.0))
        assert await tasks.write("a", 1, b"done", due=None, ttl=LONG)
        assert (await read(tasks, "a")).due is None
        assert await tasks.take_due(LONG, 10) == Due([], None)
        assert await tasks.write("a", 2, b"done!", due=None, ttl=0.01)
        await until(lambda: is_gone(tasks, "a"))
        assert not await tasks.write("a", 3, b"again", due=None, ttl=None)
        assert await tasks.page(None, None, 10) == await tasks.page("ada", None, 10) == []

    @pytest.mark.parametrize("ttl", [0.0, -5.0])
    async def test_what_is_kept_for_no_time_is_gone(self, tasks: Tasks, ttl: float) -> None:
        await tasks.create(new_task("a"))
        assert await tasks.write("a", 1, b"done", due=None, ttl=ttl)
        assert await tasks.read("a") is None

    async def test_what_was_to_end_may_stay(self, tasks: Tasks) -> None:
        for id in ("a", "b"):
            await tasks.create(new_task(id))
        assert await tasks.write("a", 1, b"", due=None, ttl=0.5)
        assert await tasks.write("b", 1, b"", due=None, ttl=0.7)
        assert await tasks.write("a", 2, b"", due=None, ttl=None)
        await until(lambda: is_gone(tasks, "b"))
        assert ids(await tasks.page(None, None, 10)) == ["a"]

    async def test_the_longest_durations(self, tasks: Tasks) -> None:
        await tasks.create(new_task("a", due=1e300))
        assert await tasks.write("a", 1, b"", due=float("inf"), ttl=1e300)
        assert ((await read(tasks, "a")).due or 0) > 1e8
        assert await tasks.renew({"a": 2}, float("inf")) == []
        assert (await tasks.take_due(1e300, 1)).tasks == []


class TestTaking:
    async def test_what_is_due_for_the_longest_time_comes_first(self, tasks: Tasks) -> None:
        for number, due in enumerate((-1.0, -3.0, LONG, -2.0)):
            await tasks.create(new_task(f"a{number}", due))
        first = await tasks.take_due(LONG, 2)
        assert ids(first.tasks) == ["a1", "a3"]
        assert [task.version for task in first.tasks] == [2, 2]
        assert all(task.due is not None and LONG - 60 < task.due < LONG + 1 for task in first.tasks)
        assert first.next_due == 0.0
        second = await tasks.take_due(LONG, 2)
        assert ids(second.tasks) == ["a0"]
        assert second.next_due is not None
        assert LONG - 60 < second.next_due < LONG + 1
        assert (await tasks.take_due(LONG, 2)).tasks == []
        assert (await read(tasks, "a2")).version == 1

    async def test_without_tasks_none_is_due(self, tasks: Tasks) -> None:
        assert await tasks.take_due(LONG, 10) == Due([], None)

    async def test_the_next_one_takes_it_when_the_lease_is_over(self, tasks: Tasks) -> None:
        await tasks.create(new_task("a", 0.0))
        [held] = (await tasks.take_due(0.02, 10)).tasks
        taken: list[TaskRecord] = []

        async def is_taken() -> bool:
            taken.extend((await tasks.take_due(LONG, 10)).tasks)
            return bool(taken)

        await until(is_taken)
        assert [(task.id, task.version) for task in taken] == [("a", held.version + 1)]
        assert not await tasks.write("a", held.version, b"late", due=None, ttl=None), "who was too slow"
        assert await tasks.renew({"a": held.version}, LONG) == ["a"]
        assert await tasks.write("a", taken[0].version, b"done", due=None, ttl=None)

    async def test_a_lease_is_renewed(self, tasks: Tasks) -> None:
        for number in range(4):
            await tasks.create(new_task(f"a{number}", -1.0))
        assert await tasks.write("a3", 1, b"done", due=None, ttl=None)
        versions = {task.id: task.version for task in (await tasks.take_due(0.0, 10)).tasks}
        assert versions == {"a0": 2, "a1": 2, "a2": 2}
        lost = await tasks.renew({**versions, "a1": 1, "a3": 2, "b": 1}, LONG)
        assert sorted(lost) == ["a1", "a3", "b"], "of another version, finished, and not there"
        assert ids((await tasks.take_due(LONG, 10)).tasks) == ["a1"]
        assert (await read(tasks, "a0")).version == 2
        assert await tasks.renew({}, LONG) == []

    async def test_the_next_one_is_told(self, tasks: Tasks) -> None:
        for id, due in (("a", LONG), ("b", LONG / 2), ("c", LONG / 4)):
            await tasks.create(new_task(id, due))
        assert LONG / 4 - 60 < ((await tasks.take_due(LONG, 1)).next_due or 0) <= LONG / 4
        await tasks.write("c", 1, b"", due=None, ttl=None)
        assert LONG / 2 - 60 < ((await tasks.take_due(LONG, 1)).next_due or 0) <= LONG / 2
        await tasks.delete("b")
        assert LONG - 60 < ((await tasks.take_due(LONG, 1)).next_due or 0) <= LONG

    async def test_what_has_ended_is_not_taken(self, tasks: Tasks) -> None:
        """And not told as the next one: nobody would ever take it."""
        for number in range(100):
            await tasks.create(new_task(f"a{number}"))
            await tasks.write(f"a{number}", 1, b"", due=0.02, ttl=0.01)
        await tasks.create(new_task("b", due=0.02))
        taken: list[str] = []

        async def is_taken() -> bool:
            taken.extend(ids((await tasks.take_due(LONG, 3)).tasks))
            return "b" in taken

        await asyncio.sleep(0.03)
        await until(is_taken)
        assert taken == ["b"]
        for _ in range(40):
            if (next_due := (await tasks.take_due(LONG, 3)).next_due) != 0.0:
                break
        assert next_due is not None
        assert next_due > LONG - 60

    async def test_large_values_are_taken_in_portions(self, tasks: Tasks) -> None:
        for number in range(5):
            await tasks.create(new_task(f"a{number}", number - 5.0, value=bytes(MOST_TAKEN // 2)))
        portions = [await tasks.take_due(LONG, 10)]
        while portions[-1].next_due == 0.0:
            portions.append(await tasks.take_due(LONG, 10))
        assert [id for portion in portions for id in ids(portion.tasks)] == [f"a{number}" for number in range(5)]


class TestPages:
    async def test_in_the_order_of_creation(self, tasks: Tasks) -> None:
        for number in range(10):
            await tasks.create(new_task(f"{9 - number}", owner="even" if number % 2 == 0 else "odd"))
        expected = [f"{9 - number}" for number in range(10)]
        assert ids(await tasks.page(None, None, 100)) == expected
        assert ids(await tasks.page("even", None, 100)) == expected[::2]
        assert await tasks.page("nobody", None, 100) == []
        paged: list[str] = []
        cursor = None
        while page := await tasks.page("odd", cursor, 2):
            paged += ids(page)
            cursor = cursor_of(page[-1])
        assert paged == expected[1::2]

    async def test_records_come_and_go_between_pages(self, tasks: Tasks) -> None:
        for number in range(6):
            await tasks.create(new_task(f"a{number}"))
        page = await tasks.page("ada", None, 3)
        assert ids(page) == ["a0", "a1", "a2"]
        cursor = cursor_of(page[-1])
        for id in ("a0", "a2", "a3"):
            await tasks.delete(id)
        await tasks.create(new_task("0"))
        await tasks.write("a4", 1, b"changed", due=None, ttl=LONG)
        assert ids(await tasks.page("ada", cursor, 3)) == ["a4", "a5", "0"]
        assert await tasks.page("ada", cursor_of((await tasks.page("ada", None, 9))[-1]), 3) == []

    async def test_a_page_has_its_number_of_records_however_large(self, tasks: Tasks) -> None:
        for number in range(7):
            await tasks.create(new_task(f"a{number}", value=bytes(200_000)))
        assert ids(await tasks.page(None, None, 5)) == [f"a{number}" for number in range(5)]
        assert len(await tasks.page(None, None, 50)) == 7

    @pytest.mark.parametrize("cursor", ["", "a", "123", "x" * 20, "²" * 20, "0" * 16 + "\ud800"])
    async def test_what_is_no_cursor_is_refused(self, tasks: Tasks, cursor: str) -> None:
        for owner in (None, "ada"):
            with pytest.raises(ValueError, match=r"cursor of tasks|surrogates"):
                await tasks.page(owner, cursor, 10)

    @given(microseconds=st.integers(0, 8_000_000_000_000_000))
    def test_a_cursor_is_the_position_of_its_record(self, microseconds: int) -> None:
        position = f"{microseconds:016d}id"
        created = creation_of(position)
        assert cursor_of(TaskRecord(id_at(position), "", b"", 1, created, None)) == position
        assert len(position_of(created, "")) == 16


async def test_a_store_without_tasks_says_what_to_do() -> None:
    with pytest.raises(StoreError, match="keeps no tasks: it lacks the attribute `tasks`"):
        tasks_of(object())  # type: ignore[arg-type]


async def test_a_closed_store_says_so(shared_url: str, opened: Open) -> None:
    store = await opened(shared_url)
    tasks = tasks_of(store)
    assert not tasks.is_local
    await tasks.create(new_task("a"))
    await store.close()
    for doing in (
        tasks.create(new_task("b")),
        tasks.read("a"),
        tasks.write("a", 1, b"", due=None, ttl=None),
        tasks.take_due(LONG, 1),
        tasks.renew({"a": 1}, LONG),
        tasks.page(None, None, 1),
        tasks.delete("a"),
    ):
        with pytest.raises(StoreError):
            await doing


async def test_servers_with_one_store_have_tasks_of_their_own(store: Store) -> None:
    one, other = tasks_of(store, "one"), tasks_of(store, "other")
    new = NewTask(id="a", owner="o", value=b"1", due=0.0, own_limit=1, limit=1)
    assert await one.create(new) == Created()
    assert (await other.take_due(LONG, 10)).tasks == []
    assert await other.page(None, None, 10) == []
    assert await other.create(msgspec.structs.replace(new, id="b")) == Created()
    assert [record.id for record in (await one.take_due(LONG, 10)).tasks] == ["a"]
    assert [record.id for record in await other.page("o", None, 10)] == ["b"]
    assert isinstance(await one.create(msgspec.structs.replace(new, id="c")), Full)
