"""The options of registration for tools, resources and prompts, each with its type and description.

Decorators and `add_…` methods take them by `**options: Unpack[ToolOptions]`, so type checkers and editors know
all of them. Easy to get wrong: nothing is evaluated here, since most of these types take long to load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from enfilade.primitives.completion import Source
    from enfilade.primitives.metadata import DumpableModel
    from enfilade.wire.content import Annotations, Icon
    from enfilade.wire.message import CacheScope
    from enfilade.wire.tools import ToolAnnotations


class Options(TypedDict, total=False):
    """Options of all kinds of registration."""

    name: str | None
    """Its name; by default that of the function, the file or the directory, or the end of the URI."""
    title: str | None
    """Its name for people."""
    description: str | None
    """What it does or holds, for the model; by default the docstring's text."""
    icons: Sequence[Icon | Mapping[str, Any] | DumpableModel | str] | None
    """Pictures, https or data URIs."""
    meta: Mapping[str, Any] | None
    """Members of the definition's `_meta`; of a resource also for contents that have none of their own."""


class ToolOptions(Options, total=False):
    """What `@app.tool`, `app.add_tool` and `@enfilade.tool` take."""

    desc: str | None
    """Another spelling of `description`."""
    annotations: ToolAnnotations | Mapping[str, Any] | DumpableModel | None
    """Hints such as `readOnlyHint`, as a dict or as `ToolAnnotations` of ours or of the official SDK."""
    input_schema: Mapping[str, Any] | None
    """A hand-made JSON Schema to publish in place of the derived one."""
    additional_properties: bool
    """Take arguments that have no parameter, and leave them out; they are refused by default."""
    output_schema: Mapping[str, Any] | None
    """A hand-made JSON Schema of structured results; None for no structured content."""
    structured_output: bool | None
    """False to send no structured content, True to insist on an output schema."""
    requires_secrets: Iterable[str]
    """Names of the secrets that `ctx.secret` gives it."""
    timeout: float | None
    """Seconds that a call of it may take; None for no limit of its own."""


class PromptOptions(Options, total=False):
    """What `@app.prompt` and `app.add_prompt` take."""

    complete: Mapping[str, Source] | None
    """What suggests values, by argument: a function, a list, an Enum."""


class DirectoryOptions(Options, total=False):
    """What `app.add_directory` takes, and every resource."""

    annotations: Annotations | Mapping[str, Any] | DumpableModel | None
    """For whom it is (`audience`), how much it matters (`priority`), `last_modified`."""
    ttl: float
    """Seconds for which clients may keep what they read; 0 by default."""
    cache_scope: CacheScope
    """`public` only if it is the same for everybody; `private` by default."""


class FixedResourceOptions(DirectoryOptions, total=False):
    """What `app.add_text_resource` and `app.add_file_resource` take."""

    mime_type: str | None
    """Its media type; guessed by default."""


class ResourceOptions(FixedResourceOptions, total=False):
    """What `@app.resource` and `app.add_resource` take."""

    size: int | None
    """Bytes, if the size is known and stays; for a resource only."""
    complete: Mapping[str, Source] | None
    """What suggests values, by variable: a function, a list, an Enum."""
    verbatim: Sequence[str]
    """Variables whose values may hold `..` or an absolute path, which are refused otherwise."""
