"""Changes on their way to listeners: once, in order, from any thread, to nobody who has had enough."""

import asyncio
import gc
import itertools
import threading
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from enfilade import MCPApp
from enfilade.primitives.access import Access
from enfilade.primitives.uris import MAX_URI_LENGTH
from enfilade.serving import subscriptions
from enfilade.serving.cluster import WorkerChannel
from enfilade.serving.subscriptions import (
    MOST_MERGED,
    MOST_WATCHED,
    PROMPTS,
    RESOURCES,
    SLICE,
    TOOLS,
    Change,
    Changes,
    Listener,
    PendingChanges,
    _honoured,
    notification_of,
    unwatch,
    updated,
    watch,
)
from enfilade.timings import Timings
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError
from enfilade.wire.lifecycle import (
    PromptsCapability,
    ResourcesCapability,
    ServerCapabilities,
    ToolsCapability,
)
from enfilade.wire.notifications import SubscriptionFilter
from enfilade.wire.revisions import HANDSHAKE, STATELESS
from support.cluster.in_process_workers import SharedMemory
from support.exchanges import SentRequests, parsed
from support.waiting import until

pytestmark = pytest.mark.anyio

A, B = updated("note://a"), updated("note://b")


class RecordingListener:
    """A listener that writes down what it is told, and is told that there is room or none."""

    def __init__(self, changes: Changes, wants: Iterable[Change] | None = None, of: object = None) -> None:
        self.changes = changes
        self.heard: list[Change] = []
        self.room = True
        self.wanted = None if wants is None else set(wants)
        self.listener = Listener(
            lambda change: self.wanted is None or change in self.wanted,
            self._tell,
            owner=of,
            timings=Timings(change_debounce=0.001, change_retry=0.001),
        )
        assert changes.attach(self.listener)

    def _tell(self, change: Change) -> bool:
        if self.room:
            self.heard.append(change)
        return self.room


async def delivered(*listeners: RecordingListener) -> None:
    """Return when everything announced so far has been delivered: the fence comes last."""
    fence = Change("fence")
    for recorder in listeners:
        if recorder.wanted is not None:
            recorder.wanted.add(fence)
    for changes in {id(recorder.changes): recorder.changes for recorder in listeners}.values():
        changes.announce(fence)
    await until(lambda: all(recorder.heard[-1:] == [fence] for recorder in listeners))
    for recorder in listeners:
        recorder.heard.pop()


async def test_what_comes_together_is_told_once_and_in_order() -> None:
    """S7: a hundred changes of one list are one notification."""
    changes = Changes()
    recorder = RecordingListener(changes)
    for _ in range(100):
        for change in (PROMPTS, A, TOOLS, B, A):
            changes.announce(change)
    await delivered(recorder)
    assert recorder.heard == [PROMPTS, A, TOOLS, B]
    changes.announce(TOOLS)
    await delivered(recorder)
    assert recorder.heard == [PROMPTS, A, TOOLS, B, TOOLS], "and what comes later is told again"


async def test_a_burst_costs_the_event_loop_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = Changes()
    recorder = RecordingListener(changes, [TOOLS])
    loop, calls = asyncio.get_running_loop(), []
    threadsafe = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *call: calls.append(call) or threadsafe(*call))
    for _ in range(1000):
        changes.announce(TOOLS)
        changes.announce(PROMPTS)
    assert len(calls) == 1
    monkeypatch.undo()
    await delivered(recorder)
    assert recorder.heard == [TOOLS]


async def test_each_hears_what_it_wants() -> None:
    """R-2C4: and no more than that."""
    changes = Changes()
    wishes: list[list[Change]] = [[TOOLS], [PROMPTS, B], [], [A, RESOURCES]]
    listeners = [RecordingListener(changes, wanted) for wanted in wishes]
    for change in (TOOLS, PROMPTS, RESOURCES, A, B):
        changes.announce(change)
    await delivered(*listeners)
    assert [recorder.heard for recorder in listeners] == [[TOOLS], [PROMPTS, B], [], [RESOURCES, A]]


async def test_a_wish_that_was_withdrawn_meanwhile() -> None:
    """R-368: nothing is told after `resources/unsubscribe` was answered."""
    changes = Changes()
    recorder = RecordingListener(changes, [A, B])
    changes.announce(A)
    changes.announce(B)
    assert recorder.wanted is not None
    recorder.wanted.discard(A)
    await delivered(recorder)
    assert recorder.heard == [B]


async def test_from_any_thread() -> None:
    """R-369: each thread's last change is told, whatever the others do at that moment."""
    changes = Changes()
    recorder = RecordingListener(changes)
    barrier = threading.Barrier(8)

    def announce(number: int) -> None:
        barrier.wait()
        for _ in range(200):
            changes.announce(TOOLS)
            changes.announce(updated(f"note://{number}"))

    threads = [threading.Thread(target=announce, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    await delivered(recorder)
    assert {change.uri for change in recorder.heard} == {None, *(f"note://{number}" for number in range(8))}
    assert len(recorder.heard) < 1600


async def test_others_have_their_turn_while_a_change_goes_to_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-2CB: after each slice of time; and what is announced meanwhile comes to everybody behind it."""
    changes, clock = Changes(), itertools.count()
    listeners = [RecordingListener(changes) for _ in range(100)]
    heard_by: list[int] = []

    def look() -> None:
        heard_by.append(sum(bool(recorder.heard) for recorder in listeners))
        if heard_by[-1] < len(listeners):
            asyncio.get_running_loop().call_soon(look)
            if heard_by[-1]:
                changes.announce(PROMPTS)

    monkeypatch.setattr(subscriptions, "time", SimpleNamespace(perf_counter=lambda: next(clock) * SLICE / 4))
    changes.announce(TOOLS)
    look()
    await until(lambda: all(len(recorder.heard) > 1 for recorder in listeners))
    assert max(after - before for before, after in itertools.pairwise(heard_by)) <= 5
    assert {tuple(recorder.heard) for recorder in listeners} == {(TOOLS, PROMPTS)}


async def test_what_finds_no_room_is_told_later() -> None:
    """A slow reader of a session loses no change: they are few, as equal ones are told once."""
    changes = Changes()
    recorder = RecordingListener(changes)
    recorder.room = False
    for _ in range(5):
        changes.announce(TOOLS)
        changes.announce(A)
        await asyncio.sleep(0.003)
    recorder.room = True
    await until(lambda: len(recorder.heard) >= 2)
    assert recorder.heard == [TOOLS, A]


class TestEnd:
    async def test_nothing_is_told_after_it(self) -> None:
        changes = Changes()
        recorder, other = RecordingListener(changes), RecordingListener(changes)
        changes.announce(TOOLS)
        changes.detach(recorder.listener)
        changes.announce(PROMPTS)
        await delivered(other)
        assert (recorder.heard, other.heard, len(changes)) == ([], [TOOLS, PROMPTS], 1)

    async def test_in_the_middle_of_telling(self) -> None:
        """R-2C9: a backlog that is full ends a listen, whatever else there was to tell."""
        changes = Changes()
        heard: list[Change] = []

        def tell(change: Change) -> bool:
            heard.append(change)
            listener.stop()
            return True

        listener = Listener(lambda change: True, tell)
        changes.attach(listener)
        changes.announce(TOOLS)
        changes.announce(PROMPTS)
        await listener.ended
        changes.announce(RESOURCES)
        await asyncio.sleep(0.005)
        assert heard == [TOOLS]

    async def test_of_all_or_of_one_connection(self) -> None:
        """R-2C7."""
        changes = Changes()
        mine, yours = object(), object()
        listeners = [
            RecordingListener(changes, of=mine),
            RecordingListener(changes, of=yours),
            RecordingListener(changes, of=mine),
        ]
        changes.end(mine)
        await listeners[2].listener.ended
        assert [recorder.listener.ended.done() for recorder in listeners] == [True, False, True]
        changes.end()
        await listeners[1].listener.ended

    async def test_a_limit(self) -> None:
        """R-2C9: whoever comes too late is refused, and let in when another has gone."""
        changes = Changes(limit=2)
        first, _ = RecordingListener(changes), RecordingListener(changes)
        late = Listener(lambda change: True, lambda change: True)
        assert not changes.attach(late)
        changes.detach(first.listener)
        assert changes.attach(late)

    async def test_detaching_twice_or_a_stranger_is_fine(self) -> None:
        changes = Changes()
        recorder = RecordingListener(changes)
        stranger = Listener(lambda change: True, lambda change: True)
        for listener in (recorder.listener, recorder.listener, stranger):
            changes.detach(listener)
        assert len(changes) == 0


def test_a_loop_that_is_gone_disturbs_nobody() -> None:
    """A server that was killed in a test or a notebook leaves its listeners behind; announcing must not fail."""
    changes = Changes()

    async def listen() -> RecordingListener:
        return RecordingListener(changes)

    recorder = asyncio.run(listen())
    changes.announce(TOOLS)
    changes.end()
    assert recorder.heard == []


async def test_a_server_that_nobody_listens_to_keeps_nothing() -> None:
    app = MCPApp()
    before = len(asyncio.all_tasks())
    for number in range(50):
        app.add_tool(lambda: "", name=f"tool-{number}")
        app.notify_resource_updated(f"note://{number}")
    gc.collect()
    assert (len(app.changes), len(asyncio.all_tasks())) == (0, before)


def test_a_client_watches_so_many_and_no_more() -> None:
    """R-368: and the same one twice is one."""
    watched: dict[str, str] = {}
    for number in range(MOST_WATCHED):
        watch(watched, f"note://{number}")
        watch(watched, f"note://{number}")
    with pytest.raises(RpcError) as caught:
        watch(watched, "note://one-more")
    assert caught.value.code == INVALID_PARAMS
    watch(watched, "note://0")
    assert len(watched) == MOST_WATCHED
    with pytest.raises(RpcError):
        watch({}, "note://" + "x" * MAX_URI_LENGTH)


@pytest.mark.parametrize(
    ("asked", "announced"),
    [
        ("note://a", "note://a"),
        ("weather://Z%C3%BCrich", "weather://Zürich"),
        ("weather://Zürich", "weather://Z%c3%bcrich"),
        ("NOTE://%7ea b", "note://~a%20b"),
    ],
)
def test_spellings_of_one_uri_are_one_resource(asked: str, announced: str) -> None:
    """R-368: clients write a URI in their own way, and are told of it in that way."""
    watched: dict[str, str] = {}
    watch(watched, asked)
    change = updated(announced)
    assert change.uri in watched
    assert parsed(notification_of(change, "2025-11-25", watched))["params"] == {"uri": asked}
    unwatch(watched, announced)
    assert watched == {}


@pytest.mark.parametrize("revision", [*HANDSHAKE, *STATELESS])
@pytest.mark.parametrize("change", [TOOLS, PROMPTS, RESOURCES, A], ids=lambda change: change.method)
def test_the_message_is_legal_in_every_revision(change: Change, revision: str) -> None:
    """R-2C3: in the stateless era it says whose it is, before that it must not."""
    meta = {"io.modelcontextprotocol/subscriptionId": 7} if revision in STATELESS else None
    message = parsed(notification_of(change, revision, {}, meta))
    SentRequests(revision).check(message)
    assert message["method"] == change.method
    params = message.get("params", {})
    assert (params.get("uri"), params.get("_meta")) == (change.uri, meta)


EVERYTHING = ServerCapabilities(
    tools=ToolsCapability(list_changed=True),
    prompts=PromptsCapability(list_changed=True),
    resources=ResourcesCapability(list_changed=True, subscribe=True),
)
SILENT = ServerCapabilities(
    tools=ToolsCapability(), prompts=PromptsCapability(list_changed=False), resources=ResourcesCapability()
)
ALL_LISTS = SubscriptionFilter(
    tools_list_changed=True,
    prompts_list_changed=True,
    resources_list_changed=True,
    resource_subscriptions=["note://a"],
)


@pytest.mark.parametrize(
    ("offered", "wanted", "honoured"),
    [
        (EVERYTHING, ALL_LISTS, ALL_LISTS),
        (EVERYTHING, SubscriptionFilter(), SubscriptionFilter()),
        (EVERYTHING, SubscriptionFilter(tools_list_changed=False), SubscriptionFilter()),
        (
            EVERYTHING,
            SubscriptionFilter(resource_subscriptions=[]),
            SubscriptionFilter(resource_subscriptions=[]),
        ),
        (SILENT, ALL_LISTS, SubscriptionFilter()),
        (ServerCapabilities(), ALL_LISTS, SubscriptionFilter()),
        (
            ServerCapabilities(resources=ResourcesCapability(subscribe=True)),
            ALL_LISTS,
            SubscriptionFilter(resource_subscriptions=["note://a"]),
        ),
        (
            ServerCapabilities(resources=ResourcesCapability(list_changed=True)),
            ALL_LISTS,
            SubscriptionFilter(resources_list_changed=True),
        ),
        (
            EVERYTHING,
            SubscriptionFilter(resource_subscriptions=[f"note://{number}" for number in range(5000)]),
            SubscriptionFilter(resource_subscriptions=[f"note://{number}" for number in range(MOST_WATCHED)]),
        ),
    ],
    ids=[
        "all",
        "nothing",
        "a no",
        "no uri",
        "unannounced",
        "not there",
        "only watching",
        "only the list",
        "many",
    ],
)
def test_a_wish_is_narrowed_to_what_is_advertised(
    offered: ServerCapabilities, wanted: SubscriptionFilter, honoured: SubscriptionFilter
) -> None:
    """R-2C2, R-2CB: never an error."""
    assert _honoured(wanted, offered) == honoured


def scoped(name: str, *audience: Access) -> Change:
    return TOOLS.about((name,), audience)


def merged(*changes: Change) -> list[Change]:
    pending = PendingChanges()
    for change in changes:
        pending.add(change)
    return pending.take()


class TestMerging:
    """R-2CB: what is about items of one list is one change, and none of them is lost."""

    def test_items_of_one_list_are_one_change_for_those_who_see_one_of_them(self) -> None:
        first, second, same = (Access(("a",)), Access(("b",)), Access(("a",)))
        changes = [scoped("x", first), updated("a://b"), scoped("y", second, first), scoped("x", same)]
        both, resource = merged(*changes)
        assert (both.method, both.names, resource) == (TOOLS.method, ("x", "y"), updated("a://b"))
        assert [access.scopes for access in both.audience] == [("a",), ("b",)]

    def test_a_change_for_everybody_includes_those_of_items(self) -> None:
        one, other = scoped("x", Access(("a",))), PROMPTS.about(("p",), (Access(("a",)),))
        assert merged(one, other, TOOLS, one) == [other, TOOLS]

    def test_many_items_are_several_changes(self) -> None:
        access = Access(("a",))
        changes = merged(*(scoped(f"t{number}", access) for number in range(2 * MOST_MERGED + 1)))
        assert [len(change.names or ()) for change in changes] == [MOST_MERGED, MOST_MERGED, 1]
        changes = merged(*(scoped("t", Access((f"s{number}",))) for number in range(MOST_MERGED + 1)))
        assert [len(change.audience) for change in changes] == [MOST_MERGED, 1]

    def test_what_found_no_room_comes_before_what_came_meanwhile(self) -> None:
        pending = PendingChanges()
        pending.add(TOOLS)
        pending.add(scoped("x", Access(("a",))))
        pending.put_back([PROMPTS])
        assert bool(pending) is True
        assert pending.take() == [PROMPTS, TOOLS]
        assert bool(pending) is False

    async def test_other_workers_get_one_message_for_one_tool(self) -> None:
        """A tool that is replaced again and again, each time with an audience of its own."""
        store, app = SharedMemory(), MCPApp("one")
        channel = WorkerChannel(store)
        await channel.start()
        heard: list[Any] = []
        other = WorkerChannel(store)
        other.on("change", heard.append)
        await other.start()
        app.changes.share(channel)

        def tool() -> str:
            """Return a text."""
            return "text"

        for _ in range(MOST_MERGED // 2):
            app.add_tool(tool, name="replaced", requires_scopes=["a"])
            app.remove_tool("replaced")
        app.changes.announce(updated("note://fence"))
        await until(lambda: any(body[1] for body in heard))
        assert heard == [
            [TOOLS.method, None, ["replaced"]],
            ["notifications/resources/updated", "note://fence"],
        ]
