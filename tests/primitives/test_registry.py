"""`registry.py`: order, clashes, aliases, change events, threads."""

import threading
import time
from dataclasses import dataclass

import pytest

from enfilade.primitives.names import qualified_name
from enfilade.primitives.registry import Registry


@dataclass
class Item:
    name: str
    origin: str = "somewhere"


def qualified(item: Item) -> str:
    return qualified_name("my server", item.name)


def test_order_is_that_of_insertion_and_stays() -> None:
    registry: Registry[Item] = Registry("tool")
    registry.add(Item("b"), Item("a"))
    registry.add(Item("c"))
    registry.update(Item("a", "new"))
    assert registry.names() == ["b", "a", "c"]
    assert [item.origin for item in registry] == ["somewhere", "new", "somewhere"]
    assert len(registry) == 3
    assert "a" in registry
    assert "z" not in registry


def test_a_clash_names_both_origins_and_adds_nothing() -> None:
    registry: Registry[Item] = Registry("tool")
    registry.add(Item("a", "one:a (one.py:1)"))
    with pytest.raises(
        ValueError, match=r'two tools are called "a": one:a \(one\.py:1\) and two:a \(two\.py:2\)'
    ):
        registry.add(Item("b"), Item("a", "two:a (two.py:2)"))
    assert registry.names() == ["a"]
    assert registry.version == 1


def test_qualified_name_is_an_alias_p16() -> None:
    registry: Registry[Item] = Registry("tool", alias=qualified)
    registry.add(Item("get_x"))
    assert registry.get("MyServer_GetX") is registry.get("get_x") is not None
    assert registry.get("GetX") is None
    assert registry.names() == ["get_x"]
    registry.remove("get_x")
    assert registry.get("MyServer_GetX") is None


def test_items_by_subscript() -> None:
    registry: Registry[Item] = Registry("tool", alias=qualified)
    registry.add(item := Item("a"))
    assert registry["a"] is registry[qualified(item)] is item
    with pytest.raises(KeyError, match='there is no tool called "b"'):
        registry["b"]


def test_an_alias_of_two_items_finds_neither_and_hides_no_name_d37() -> None:
    registry: Registry[Item] = Registry("tool", alias=qualified)
    registry.add(Item("get_x"), Item("get-x"))
    assert registry.get("MyServer_GetX") is None
    named = Item("MyServer_GetX")
    registry.add(named)
    assert registry.get("MyServer_GetX") is named
    registry.remove("MyServer_GetX")
    registry.remove("get-x")
    found = registry.get("MyServer_GetX")
    assert found is not None
    assert found.name == "get_x"


def test_removing_what_is_not_there() -> None:
    with pytest.raises(KeyError, match='there is no tool called "a"'):
        Registry[Item]("tool").remove("a")


def test_listeners_hear_of_each_change_once_until_they_stop() -> None:
    registry: Registry[Item] = Registry("tool")
    heard: list[int] = []
    stop = registry.on_change(lambda items: heard.append(registry.version))
    registry.add(Item("a"), Item("b"))
    registry.update(Item("a"))
    registry.remove("b")
    stop()
    stop()
    registry.add(Item("c"))
    assert heard == [1, 2, 3]


def test_own_key() -> None:
    registry: Registry[str] = Registry("resource", key=str.lower)
    registry.add("File:A")
    assert registry.get("file:a") == "File:A"
    with pytest.raises(TypeError, match="give the registry a key="):
        Registry[int]("number").add(1)


def adding(count: int) -> float:
    """Return the seconds of the processor that adding so many items takes."""
    registry: Registry[Item] = Registry("tool", alias=lambda item: f"Server_{item.name}")
    items = [Item(f"tool_{number}") for number in range(count)]
    start = time.process_time()
    for item in items:
        registry.add(item)
    taken = time.process_time() - start
    assert registry.get(f"Server_tool_{count - 1}") is items[-1]
    return taken


def test_adding_takes_the_same_for_each_item_however_many_there_are() -> None:
    few, many = (min(adding(count) for _ in range(3)) for count in (2_000, 20_000))
    assert many < 40 * few


def test_the_alias_of_an_item_is_asked_for_once() -> None:
    asked: list[str] = []

    def alias(item: Item) -> str:
        asked.append(item.name)
        return f"Server_{item.name}"

    registry: Registry[Item] = Registry("tool", alias=alias)
    for name in "abcdef":
        registry.add(Item(name))
    assert asked == list("abcdef")


def test_an_item_that_takes_the_place_of_another_has_its_alias() -> None:
    registry: Registry[Item] = Registry("tool", alias=lambda item: item.origin)
    registry.add(Item("a", "one"), Item("b", "two"))
    registry.update(Item("a", "two"))
    assert registry.get("one") is None
    assert registry.get("two") is None
    registry.update(Item("b", "three"))
    assert registry.get("two") is registry.get("a")
    assert registry.get("three") is registry.get("b")


def test_changes_while_others_iterate_and_from_many_threads() -> None:
    registry: Registry[Item] = Registry("tool")
    registry.add(Item("first"), Item("second"))
    seen = []
    for item in registry:
        seen.append(item.name)
        registry.add(Item(f"{item.name}'"))
        registry.remove(item.name)
    assert seen == ["first", "second"]

    def change(worker: int) -> None:
        for index in range(50):
            registry.add(Item(f"{worker}-{index}"))
            registry.remove(f"{worker}-{index}")
            list(registry)

    before = registry.version
    threads = [threading.Thread(target=change, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.names() == ["first'", "second'"]
    assert registry.version == before + 400
