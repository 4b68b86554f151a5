"""`signature.py` and `annotations.py`: every kind of callable, and the context in every spelling (D38, D48)."""

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Annotated, Any, Optional, Union

import msgspec
import pytest

from enfilade.primitives.prompt import prompt_from_function
from enfilade.primitives.resource import resource_from_function, template_from_function
from enfilade.primitives.schema.signature import origin_of
from support.servers.tools_in_process import CONTEXT, Context, SpecialContext, make, received


def plain(a: int, b: int = 2) -> list[int]:
    """Do it."""
    return [a, b]


async def asynchronous(a: int, b: int = 2) -> list[int]:
    """Do it."""
    return [a, b]


class Thing:
    """A thing."""

    def method(self, a: int, b: int = 2) -> list[int]:
        """Do it."""
        return [a, b]

    async def async_method(self, a: int, b: int = 2) -> list[int]:
        """Do it."""
        return [a, b]

    @classmethod
    def of_class(cls, a: int, b: int = 2) -> list[int]:
        """Do it."""
        return [a, b]

    @staticmethod
    def static(a: int, b: int = 2) -> list[int]:
        """Do it."""
        return [a, b]

    @staticmethod
    def raw_static(a: int, b: int = 2) -> list[int]:
        """Do it."""
        return [a, b]


class Callable_:
    def __call__(self, a: int, b: int = 2) -> list[int]:
        """Do it."""
        return [a, b]


class AsyncCallable:
    """Do it."""

    async def __call__(self, a: int, b: int = 2) -> list[int]:
        return [a, b]


def decorated(fn: Any) -> Any:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


def three(unit: str, a: int, b: int = 2) -> list[int]:
    """Do it."""
    assert unit == "c"
    return [a, b]


def positional(a: int, b: int = 2, /) -> list[int]:
    """Do it."""
    return [a, b]


def keyword(*, a: int, b: int = 2) -> list[int]:
    """Do it."""
    return [a, b]


def all_kinds(a: int, /, *, b: int = 2) -> list[int]:
    """Do it."""
    return [a, b]


CALLABLES = {
    "function": (plain, False, "plain"),
    "async function": (asynchronous, True, "asynchronous"),
    "method": (Thing().method, False, "method"),
    "async method": (Thing().async_method, True, "async_method"),
    "class method": (Thing.of_class, False, "of_class"),
    "static method": (Thing.static, False, "static"),
    "static method of an object": (Thing().static, False, "static"),
    "static method object": (Thing.__dict__["raw_static"], False, "raw_static"),
    "callable object": (Callable_(), False, "Callable_"),
    "async callable object": (AsyncCallable(), True, "AsyncCallable"),
    "partial by keyword": (functools.partial(three, unit="c"), False, "three"),
    "partial by position": (functools.partial(three, "c"), False, "three"),
    "partial of async": (functools.partial(asynchronous), True, "asynchronous"),
    "partial of method": (functools.partial(Thing().async_method), True, "async_method"),
    "decorated": (decorated(plain), False, "plain"),
    "decorated async": (decorated(asynchronous), True, "asynchronous"),
    "cached": (functools.lru_cache(plain), False, "plain"),
    "positional only": (positional, False, "positional"),
    "keyword only": (keyword, False, "keyword"),
    "all kinds": (all_kinds, False, "all_kinds"),
}


@pytest.mark.parametrize(("fn", "is_async", "name"), CALLABLES.values(), ids=CALLABLES)
def test_callables(fn: Any, is_async: bool, name: str) -> None:
    tool = make(fn)
    assert tool.definition.input_schema == {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 2}},
        "additionalProperties": False,
        "required": ["a"],
    }
    assert tool.name == name
    assert tool.is_async is is_async
    assert tool.definition.description == "Do it."
    assert received(tool, {"a": 1}) == [1, 2]
    assert received(tool, {"a": 1, "b": 5}) == [1, 5]


def test_what_a_partial_has_filled_in_is_no_argument() -> None:
    properties = make(functools.partial(three, unit="c")).definition.input_schema["properties"]
    assert list(properties) == ["a", "b"]


def test_origin_says_where_a_function_was_written() -> None:
    assert origin_of(functools.partial(decorated(plain))).startswith(f"{__name__}:plain (test_signature.py:")
    assert origin_of(len) == "builtins:len"


CONTEXTS = {
    "plain": Context,
    "string": "Context",
    "optional": Context | None,
    "typing.Optional": Optional[Context],  # noqa: UP045 - what older modules say
    "typing.Union": Union[Context, None],  # noqa: UP007 - likewise
    "optional string": Optional["Context"],
    "string of optional": "Context | None",
    "annotated": Annotated[Context, "the context"],
    "annotated optional": Annotated[Context | None, "the context"],
    "annotated string": Annotated["Context", "the context"],
}


@pytest.mark.parametrize("annotation", CONTEXTS.values(), ids=CONTEXTS)
@pytest.mark.parametrize("kind", ["first", "last", "keyword only", "positional only", "with default"])
def test_context_in_any_spelling_and_place_d38(annotation: Any, kind: str) -> None:
    def first(ctx, a: int):
        return ctx, a

    def last(a: int, ctx):
        return ctx, a

    def keyword_only(a: int, *, ctx):
        return ctx, a

    def positional_only(a: int, ctx, /):
        return ctx, a

    def with_default(a: int, ctx=None):
        return ctx, a

    fn = locals()[kind.replace(" ", "_")]
    fn.__annotations__["ctx"] = annotation
    tool = make(fn)
    assert tool.needs_context
    assert list(tool.definition.input_schema["properties"]) == ["a"]
    assert received(tool, {"a": 1}) == (CONTEXT, 1)


def test_a_context_without_annotation_is_an_argument_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    def forgotten(a: int, ctx):
        return ctx, a

    def text(a: int, ctx: str) -> str:
        return ctx * a

    assert list(make(forgotten).definition.input_schema["properties"]) == ["a", "ctx"]
    assert 'forgotten(), parameter "ctx" has no annotation, so callers fill it' in caplog.text
    assert "write ctx: Context" in caplog.text
    caplog.clear()
    make(text)
    assert caplog.text == ""


@pytest.mark.parametrize("annotation", [SpecialContext, SpecialContext | None])
def test_a_subclass_of_the_context_is_refused_with_advice(annotation: Any) -> None:
    def fn(a: int, ctx) -> None: ...

    fn.__annotations__["ctx"] = annotation
    message = (
        r'fn\(\), parameter "ctx": .*SpecialContext is a subclass of Context, .*; annotate Context, and write'
    )
    with pytest.raises(TypeError, match=message):
        make(fn)


def test_a_class_method_that_is_registered_in_its_class_is_refused_with_advice() -> None:
    class Shop:
        def inside(cls, x: int) -> int:
            return x

        @classmethod
        def outside(cls, x: int) -> int:
            return x

        @staticmethod
        def free(x: int) -> int:
            return x

    with pytest.raises(TypeError, match=r"register it below the class: app.add_tool\(Shop.inside\)"):
        make(Shop.__dict__["inside"])
    assert received(make(Shop.outside), {"x": 1}) == 1
    assert received(make(Shop.free), {"x": 1}) == 1


class Styles:
    @staticmethod
    def style(cls: str) -> str:  # noqa: PLW0211
        return cls


def test_a_parameter_called_cls_of_a_static_method_is_an_argument_if_it_has_a_type() -> None:
    assert received(make(Styles.style), {"cls": "a"}) == "a"


def test_a_parameter_called_cls_is_an_argument_outside_of_classes() -> None:
    def style(cls: str) -> str:
        return cls

    assert received(make(style), {"cls": "a"}) == "a"


def test_a_result_type_that_cannot_be_resolved_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fn() -> "Unknown":  # type: ignore[name-defined]  # noqa: F821
        return {"a": 1}

    tool = make(fn)
    assert tool.definition.output_schema is msgspec.UNSET
    (record,) = caplog.records
    said = record.getMessage()
    assert (record.name, record.levelname) == ("enfilade", "WARNING")
    assert (
        "fn(), the result: the annotation 'Unknown' cannot be resolved (the name \"Unknown\" is not known)"
        in said
    )
    assert said.endswith("until then its results have no output schema")
    caplog.clear()
    make(fn, structured_output=False)
    assert not caplog.records


def test_two_contexts_are_one_context() -> None:
    def fn(one: Context, two: Context) -> bool:
        return one is two

    assert received(make(fn)) is True


def test_a_parameter_called_context_is_an_argument_d47() -> None:
    def fn(context: str) -> str:
        return context

    tool = make(fn)
    assert not tool.needs_context
    assert received(tool, {"context": "mine"}) == "mine"


def test_nobody_can_send_a_context() -> None:
    def fn(ctx: Context) -> None: ...

    with pytest.raises(Exception, match='"ctx" is not an argument of this tool'):
        received(make(fn), {"ctx": 1})


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


def star_args(*args: int) -> None: ...


def star_kwargs(**kwargs: int) -> None: ...


def unknown_name(x: "Nowhere") -> None: ...  # noqa: F821


def either(x: Context | int) -> None: ...


REFUSED = {
    "star args": (star_args, TypeError, r"star_args\(\) takes \*args.*list\[\.\.\.\]"),
    "star kwargs": (star_kwargs, TypeError, r"star_kwargs\(\) takes \*\*kwargs.*input_schema="),
    "generator": (generator, TypeError, "is a generator.*return a list"),
    "async generator": (async_generator, TypeError, "is a generator.*return a list"),
    "class": (Thing, TypeError, "is a class"),
    "unbound method": (Thing.method, TypeError, r"method without its object.*obj\.method"),
    "class method object": (Thing.__dict__["of_class"], TypeError, r"not bound yet.*Class\.of_class"),
    "no callable": (5, TypeError, "cannot be called"),
    "unknown name": (unknown_name, TypeError, r'unknown_name\(\), parameter "x": .*"Nowhere" is not known'),
    "context or not": (either, TypeError, "cannot be both"),
    "lambda": (lambda: 1, ValueError, "name="),
}


@pytest.mark.parametrize(("fn", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_a_tool_is_refused_with_advice(fn: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(fn)


@pytest.mark.parametrize("annotation", [Awaitable[int], Coroutine[Any, Any, int]])
def test_a_plain_function_may_return_an_awaitable(annotation: Any) -> None:
    async def inner() -> int:
        return 5

    def fn():
        return inner()

    fn.__annotations__["return"] = annotation
    tool = make(fn)
    assert tool.definition.output_schema["properties"]["result"] == {"type": "integer"}
    assert received(tool) == 5


KINDS: dict[str, Callable[[Any], object]] = {
    "prompt": lambda fn: prompt_from_function(fn, context_type=Context),
    "resource": lambda fn: resource_from_function(fn, "a://b", context_type=Context),
    "resource template": lambda fn: template_from_function(fn, "a://{b}", context_type=Context),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fn", [generator, async_generator, star_args, star_kwargs, "no function"])
def test_errors_use_the_words_of_what_is_registered(kind: str, fn: Any) -> None:
    with pytest.raises(TypeError) as caught:
        KINDS[kind](fn)
    said = str(caught.value)
    assert "tool" not in said
    assert "input_schema" not in said
    assert kind in said or "name each parameter" in said
