"""Questions to a client, and what comes back for them; and `Choices`, which authors write in types of questions.

`Annotated[str, Choices({"s": "Small", "l": "Large"})]` has choices with titles for people. `Literal` and `Enum`
are choices as well, which clients show without titles.

Easy to get wrong: what is imported here. Every server that serves loads this file, and few of them ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema, core_schema as _core_schema
else:
    _core_schema = LazyModule("pydantic_core.core_schema")


class Choices:
    """Texts to choose from, each with the title that people see.

    Used in an annotation beside `str`, or alone as the type of a form: `ctx.elicit("Size?", Choices(…))`.
    For several of them: `list[Annotated[str, Choices(…)]]`.

    Args:
        titles: title by text; the answer is the text.

    Raises:
        ValueError: there are no texts.
    """

    def __init__(self, titles: Mapping[str, str]) -> None:
        if not titles:
            raise ValueError("Choices need at least one text to choose")
        self.titles = dict(titles)

    @property
    def annotation(self) -> Any:
        """The type: a `str` that is one of the texts."""
        return Annotated[str, self]

    def __repr__(self) -> str:
        return f"Choices({self.titles!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choices) and list(self.titles.items()) == list(other.titles.items())

    def __hash__(self) -> int:
        return hash(tuple(self.titles.items()))

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        if source is not str:
            raise TypeError("Choices stand beside str: Annotated[str, Choices({...})]")
        texts = tuple(self.titles)
        literal = handler.generate_schema(Literal[texts])
        return _core_schema.no_info_after_validator_function(
            str, literal, metadata={"pydantic_js_functions": [self._json_schema]}
        )

    def _json_schema(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        del schema, handler  # the titled choice takes the place of the plain one
        titled = [{"const": text, "title": title} for text, title in self.titles.items()]
        return {"type": "string", "oneOf": titled}
