"""Dependencies: arguments of a handler that come from a function and not from its caller.

`Annotated[Database, Depends(database)]` marks a parameter that no client sees. A `Provider` is that function with
what a call needs to know: how to run it, and its own dependencies.

Easy to get wrong: the mark counts only at the outermost level of an annotation, or of an alias there. Inside a
union, a list or the field of a model it does not mark the parameter, and a client could fill it; so it is refused
there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Annotated, Any, Final, Literal, NewType, NoReturn, get_args, get_origin

from msgspec import Struct

from enfilade.primitives.schema.type_aliases import parts_of, strip, without_alias

#: How a provider's function is run.
Kind = Literal["async", "plain", "async generator", "generator"]


#: Marks the core schema of a field that carries a dependency, in its metadata.
DEPENDENCY: Final = "enfilade_depends"


class Depends:
    """Marks a parameter whose value comes from a function: `Annotated[T, Depends(fn)]`.

    Args:
        fn: the function.
        unknown: nothing; options of other frameworks are refused with what to write.

    Attributes:
        fn: gives the value, once per call. `def` or a class (in a thread), `async def`, or a generator of either
            kind, whose code after the one `yield` runs when the call is over, also after an error; one under
            `@contextmanager` or `@asynccontextmanager` is the same. It may take `Context` and have dependencies
            of its own. Without it, the annotated class itself: `Annotated[Repo, Depends()]`.
    """

    __slots__ = ("fn",)

    def __init__(self, fn: Callable[..., Any] | None = None, **unknown: NoReturn) -> None:
        if unknown:
            from enfilade.primitives.errors import refuse_arguments

            refuse_arguments("Depends", unknown, ("fn",))
        self.fn = fn

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Depends) and self.fn == other.fn

    def __hash__(self) -> int:
        return hash(self.fn)

    def __repr__(self) -> str:
        return f"Depends({'' if self.fn is None else getattr(self.fn, '__qualname__', self.fn)})"

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Mark the schema of a field that carries this: a caller could fill it, so no argument may hold it."""
        schema = handler(source)
        return {**schema, "metadata": {**schema.get("metadata", {}), DEPENDENCY: True}}


class Provider(Struct, frozen=True, eq=False):
    """A function that handlers or other providers depend on.

    Attributes:
        fn: the function.
        kind: how it is run.
        contexts: the parameters that take the context.
        dependencies: the parameters that come from providers, by name.
        positional: the parameters that can only be passed by position, in order.
    """

    fn: Callable[..., Any]
    kind: Kind
    contexts: tuple[str, ...]
    dependencies: tuple[tuple[str, Provider], ...]
    positional: tuple[str, ...]

    @property
    def key(self) -> Hashable:
        """The identity of the function in a cache: the function itself, or its `id` if it is not hashable."""
        return key_of(self.fn)

    def call(self, values: dict[str, Any]) -> Any:
        """Call the function; returns a value, an awaitable or a generator, by its kind."""
        if not self.positional:
            return self.fn(**values)
        return self.fn(*[values.pop(name) for name in self.positional], **values)


def key_of(fn: Callable[..., Any]) -> Hashable:
    """Return the identity of a function in a cache; bound methods of one object and name are equal."""
    try:
        hash(fn)
    except TypeError:
        return id(fn)
    return fn


def depends_of(annotation: Any) -> Callable[..., Any] | None:
    """Return the function that gives a parameter its value; None if the caller fills it.

    Raises:
        TypeError: the mark is in a position where it has no effect.
    """
    annotation = without_alias(annotation)
    if get_origin(annotation) is not Annotated:
        _refuse_within(annotation)
        return None
    inner, *metadata = get_args(annotation)
    for mark in reversed(metadata):  # the outermost, where an alias brings one of its own
        if mark is Depends:
            raise TypeError("Depends needs a function: Depends(fn)")
        if isinstance(mark, Depends):
            return _with_function(mark, inner)
    return depends_of(inner)


def _with_function(mark: Depends, kind: Any) -> Callable[..., Any]:
    """Return the function of a mark, or the class that it marks."""
    if mark.fn is not None:
        return mark.fn
    kind = strip(kind)
    if not isinstance(kind, type):
        raise TypeError("Depends() without a function needs a class to make; write Depends(fn)")
    return kind


def _refuse_within(annotation: Any) -> None:
    for annotation_part in parts_of(annotation):
        while isinstance(annotation_part, NewType):
            annotation_part = annotation_part.__supertype__
        marks = get_args(annotation_part)[1:] if get_origin(annotation_part) is Annotated else ()
        if any(mark is Depends or isinstance(mark, Depends) for mark in marks):
            raise TypeError(
                "Depends stands inside of its type; write Annotated[<the whole type>, Depends(fn)], "
                "or an alias of that"
            )
