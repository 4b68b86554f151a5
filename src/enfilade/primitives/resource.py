"""Resources and resource templates: their definitions, and the functions that return their contents.

A resource has one URI and no arguments; a template has a variable in its URI for each argument of its function.

Easy to get wrong: the values of a template come from the client and often end up in a path. So a value that
would lead out of a directory (`..`, an absolute path) is refused before the function gets it, encoded or not,
unless its author lists the variable in `verbatim=`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_origin

from msgspec import UNSET
from msgspec.structs import replace
from pydantic_core import to_json

from enfilade.primitives.access import Access
from enfilade.primitives.completion import Completer, Source, completers_for
from enfilade.primitives.errors import ArgumentsError
from enfilade.primitives.handler import Handler, handler_of
from enfilade.primitives.metadata import (
    NO_CACHING,
    Caching,
    DumpableModel,
    check_options,
    check_sendable,
    read_content_annotations,
    read_icons,
)
from enfilade.primitives.schema.docstrings import docstring_of, documented_names, read_docstring
from enfilade.primitives.schema.references import follow
from enfilade.primitives.schema.signature import (
    EMPTY,
    Signature,
    describe,
    raw_name,
    read_signature,
    refuse_nothing,
)
from enfilade.primitives.schema.type_aliases import strip
from enfilade.primitives.uris import UriTemplate, Variable, canonical, check_uri, decoded, escapes_root
from enfilade.primitives.values.arguments import StringReader
from enfilade.primitives.values.media import guess_mime_type
from enfilade.primitives.values.results import declares_content, read_result
from enfilade.wire import resources as wire
from enfilade.wire.content import Annotations, Icon


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """Something to read at one URI. Immutable.

    Attributes:
        uri: its URI.
        definition: its entry in `resources/list`, in the newest revision.
        handler: returns its contents.
        caching: hints for clients that read it.
        measure: returns its current size in bytes (None if unknown), for resources whose size changes.
        access: who may see and read it; None for everybody.
    """

    uri: str
    definition: wire.Resource
    handler: Handler
    caching: Caching = NO_CACHING
    measure: Callable[[], int | None] | None = None
    access: Access | None = None

    @property
    def origin(self) -> str:
        """Where its function was written."""
        return self.handler.origin

    @property
    def canonical_uri(self) -> str:
        """The canonical form of its URI, by which it is found under other spellings."""
        return canonical(self.uri)

    def result(self, value: Any, uri: str) -> wire.ReadResourceResult:
        """Return the result for what the function returned (after awaiting it).

        Raises:
            ReturnedValueError: it cannot be sent.
        """
        return read_result(value, uri, self.definition.mime_type or None, self.definition.meta or None)


@dataclass(frozen=True, slots=True, eq=False)
class ResourceTemplate:
    """A family of resources by URI template. Immutable.

    Attributes:
        uri_template: its template, and the name under which it is registered.
        definition: its entry in `resources/templates/list`, in the newest revision.
        handler: returns the contents of a matching resource.
        completers: the sources of suggested values, by argument.
        arguments: the variables of the template, in order.
        caching: hints for clients that read one.
        members: returns the matching resources to list, if any; it may block.
        access: who may see it and read what matches; None for everybody.
    """

    uri_template: str
    definition: wire.ResourceTemplate
    handler: Handler
    completers: Mapping[str, Completer]
    arguments: tuple[str, ...]
    caching: Caching
    members: Callable[[], Sequence[wire.Resource]] | None
    _template: UriTemplate = field(repr=False)
    _reader: StringReader = field(repr=False)
    _verbatim: frozenset[str] = field(repr=False)
    access: Access | None = None

    @property
    def origin(self) -> str:
        """Where its function was written."""
        return self.handler.origin

    def match(self, uri: str, *, any_query: bool = False) -> dict[str, str | list[str]] | None:
        """Return the values of the variables in a URI; None if it does not match.

        Args:
            uri: the URI.
            any_query: ignore query members that the template does not name, if it has a query.
        """
        raw = self._template.match(uri, any_query=any_query)
        if raw is None:
            return None
        values: dict[str, str | list[str]] = {}
        for name, variable in self._template.variables.items():
            if self._takes_list(name):
                items = _items(raw.get(name), variable)
                if items is None:
                    return None
                if items or name in self._reader.schema.get("required", ()):
                    values[name] = items
            elif name in raw:
                value = decoded(raw[name])
                if value is None:
                    return None
                values[name] = value
        return values

    def bind(self, values: Mapping[str, str | list[str]], context: Any) -> dict[str, Any]:
        """Return the values for the function, by parameter name.

        Raises:
            ArgumentsError: says everything that is wrong with the values.
        """
        for name in values.keys() - self._verbatim:  # no path leaves its directory
            value = values[name]
            if any(map(escapes_root, [value] if isinstance(value, str) else value)):
                raise ArgumentsError(f'"{name}" may hold neither ".." nor an absolute path')
        return self.handler.with_context(self._reader.read(to_json(dict(values))), context)

    def result(self, value: Any, uri: str) -> wire.ReadResourceResult:
        """Return the result for what the function returned (after awaiting it).

        Raises:
            ReturnedValueError: it cannot be sent.
        """
        return read_result(value, uri, self.definition.mime_type or None, self.definition.meta or None)

    def _takes_list(self, name: str) -> bool:
        return takes_list(self._reader.schema["properties"][name], self._reader.schema)


def takes_list(property_schema: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    """Return whether the values of a part of a schema are, or may be, arrays."""
    branches = [follow(branch, schema) for branch in (property_schema, *property_schema.get("anyOf", ()))]
    return any(branch.get("type") == "array" for branch in branches)


def _items(raw: str | None, variable: Variable) -> list[str] | None:
    """Return the items of a list, decoded after they were split; None if one cannot be decoded."""
    if raw is None:
        return []
    items = [decoded(item) for item in re.split(f"[{re.escape(variable.separators)}]", raw)]
    readable = [item for item in items if item is not None]
    return readable if len(readable) == len(items) else None


def resource_from_function(
    fn: Callable[..., Any],
    uri: str,
    *,
    context_type: type,
    name: str | None = None,
    title: str | None = None,
    description: str | None = None,
    mime_type: str | None = None,
    size: int | None = None,
    annotations: Annotations | Mapping[str, Any] | DumpableModel | None = None,
    icons: Sequence[Icon | Mapping[str, Any] | DumpableModel | str] | None = None,
    meta: Mapping[str, Any] | None = None,
    caching: Caching = NO_CACHING,
    access: Access | None = None,
) -> Resource:
    """Make a resource of a callable without parameters except the context.

    Args:
        fn: sync or async; returns text, bytes, data, or contents.
        uri: its URI.
        context_type: parameters annotated with this class take the context.
        name: the name to list; the function's own by default.
        title: a name for people.
        description: its description; the docstring by default.
        mime_type: its media type; guessed from the URI or the return annotation by default.
        size: in bytes, if it is known and does not change.
        annotations: its `audience`, `priority` and `last_modified`.
        icons: each with an https or data URI (R-560).
        meta: the `_meta` of the definition.
        caching: hints for clients that read it.
        access: who may see and read it.

    Raises:
        TypeError: the function has parameters.
        ValueError: the URI, an icon or an annotation is not legal.
    """
    check_uri(uri)
    signature = read_signature(fn, context_type, kind="resource")
    label = describe(fn)
    refuse_nothing(signature, label, "the contents of the resource: text, bytes or data")
    if signature.parameters:
        first = signature.parameters[0].name
        raise TypeError(
            f'{label}, parameter "{first}": the URI "{uri}" has no place for it; write a template, such as '
            f'"{uri.rstrip("/")}/{{{first}}}"'
        )
    docstring = read_docstring(docstring_of(fn), documented_names(signature))
    definition = define_resource(
        uri,
        raw_name(fn) if name is None else name,
        title=title,
        description=docstring.description if description is None else description,
        mime_type=mime_type or guess_mime_type(uri) or _mime_type_of(signature.returns),
        size=size,
        annotations=annotations,
        icons=icons,
        meta=meta,
    )
    return Resource(uri, definition, handler_of(fn, signature), caching, access=access)


def define_resource(
    uri: str,
    name: str,
    *,
    title: str | None = None,
    description: str | None = None,
    mime_type: str | None = None,
    size: int | None = None,
    annotations: Annotations | Mapping[str, Any] | DumpableModel | None = None,
    icons: Sequence[Icon | Mapping[str, Any] | DumpableModel | str] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> wire.Resource:
    """Return the definition of a resource, checked.

    Raises:
        TypeError: an option is of another type.
        ValueError: an option is not legal.
    """
    check_uri(uri)
    check_options(
        f'resource "{uri}"',
        name=name,
        title=title,
        description=description,
        mime_type=mime_type,
        size=size,
        icons=icons,
        meta=meta,
    )
    if size is not None and size < 0:
        raise ValueError(f'resource "{uri}": size is a number of bytes, not {size}')
    definition = wire.Resource(
        uri=uri,
        name=name,
        title=title or UNSET,
        description=description or UNSET,
        mime_type=mime_type or UNSET,
        size=UNSET if size is None else size,
        annotations=read_content_annotations(annotations),
        icons=read_icons(icons),
        meta=dict(meta) if meta else UNSET,
    )
    check_sendable(definition, f'resource "{uri}"')
    return definition


def template_from_function(
    fn: Callable[..., Any],
    uri_template: str,
    *,
    context_type: type,
    name: str | None = None,
    title: str | None = None,
    description: str | None = None,
    mime_type: str | None = None,
    annotations: Annotations | Mapping[str, Any] | DumpableModel | None = None,
    icons: Sequence[Icon | Mapping[str, Any] | DumpableModel | str] | None = None,
    meta: Mapping[str, Any] | None = None,
    caching: Caching = NO_CACHING,
    complete: Mapping[str, Source] | None = None,
    verbatim: Sequence[str] = (),
    members: Callable[[], Sequence[wire.Resource]] | None = None,
    access: Access | None = None,
) -> ResourceTemplate:
    """Make a resource template of any callable.

    Args:
        fn: sync or async, with a parameter for each variable of the template.
        uri_template: RFC 6570.
        mime_type: their media type, if all have the same; guessed from the return annotation by default.
        complete: the sources of suggested values, by variable: a function, a list, an Enum.
        verbatim: variables whose values may hold `..` or an absolute path.
        members: returns the resources to list.
        context_type, name, title, description, annotations, icons, meta, caching, access: as of
            `resource_from_function`.

    Raises:
        TypeError: the function's parameters differ from the template's variables; names the first difference.
        ValueError: the template, an icon or an annotation is not legal.
    """
    label = describe(fn)
    check_options(
        label,
        name=name,
        title=title,
        description=description,
        mime_type=mime_type,
        icons=icons,
        meta=meta,
        complete=complete,
        verbatim=verbatim,
        members=members,
    )
    verbatim = tuple(verbatim)
    template = UriTemplate(uri_template)
    signature = read_signature(fn, context_type, kind="resource template")
    refuse_nothing(signature, label, "the contents of the resource: text, bytes or data")
    _check_agreement(template, signature, label)
    # A template publishes nothing about its variables but this text.
    docstring = read_docstring(docstring_of(fn), documented_names(signature, published=False))
    parameters = [parameter for parameter in signature.parameters if parameter.name in template.variables]
    reader = StringReader(uri_template, parameters, descriptions={}, label=label, kind="resource template")
    definition = wire.ResourceTemplate(
        uri_template=uri_template,
        name=raw_name(fn) if name is None else name,
        title=title or UNSET,
        description=(docstring.description if description is None else description) or UNSET,
        mime_type=mime_type or _mime_type_of(signature.returns) or UNSET,
        annotations=read_content_annotations(annotations),
        icons=read_icons(icons),
        meta=dict(meta) if meta else UNSET,
    )
    check_sendable(definition, label)
    names = tuple(template.variables)
    for variable in verbatim:
        if variable not in names:
            raise ValueError(f'{label}: verbatim names {variable!r}, which is no variable of "{uri_template}"')
    return ResourceTemplate(
        uri_template=uri_template,
        definition=definition,
        handler=handler_of(fn, signature),
        completers=completers_for(parameters, names, complete, context_type, label),
        arguments=names,
        caching=caching,
        members=members,
        _template=template,
        _reader=reader,
        _verbatim=frozenset(verbatim),
        access=access,
    )


def _check_agreement(template: UriTemplate, signature: Signature, label: str) -> None:
    """Compare the variables of a template with the parameters of its function."""
    parameters = {parameter.name: parameter for parameter in signature.parameters}
    for name in template.variables:
        if name not in parameters:
            raise TypeError(f'{label} has no parameter for "{name}" of "{template.template}"; add one')
    for name, parameter in parameters.items():
        if name not in template.variables and parameter.default is EMPTY:
            raise TypeError(
                f'{label}, parameter "{name}": "{template.template}" has no place for it; '
                f"write it into the template, or give it a default"
            )


def _mime_type_of(returns: Any) -> str | None:
    """Return the media type that a return annotation stands for; None where it leaves it open."""
    bare = strip(returns)
    if bare is str:
        return "text/plain"
    kind = get_origin(bare) or bare
    if not isinstance(kind, type) or declares_content(bare) or kind in (EMPTY, bytes, bytearray, object):
        return None
    is_data = issubclass(kind, (dict, list, tuple)) or hasattr(kind, "model_fields")
    return "application/json" if is_data or hasattr(kind, "__dataclass_fields__") else None


def with_present_size(resource: Resource) -> wire.Resource:
    """Return the definition of a resource with the size that it has now, where that changes by itself."""
    if resource.measure is None:
        return resource.definition
    size = resource.measure()
    return replace(resource.definition, size=UNSET if size is None else size)
