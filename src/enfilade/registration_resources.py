"""What a server offers to read and to fill in: resources, templates, prompts, and completion for their arguments.

`MCPApp` is built on this. Nothing here serves anything; it turns functions, texts and files into definitions and
keeps them in registries, which may change at any time and from any thread.

Easy to get wrong: what is a template. A URI with a variable in braces is one, and its function has a parameter
for each variable; a URI without is a resource, and its function has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, overload

from enfilade.primitives.caching import Caching
from enfilade.primitives.habits import advised
from enfilade.primitives.handler import giving, handler_of
from enfilade.primitives.registry import Registry
from enfilade.primitives.schema.signature import read_signature
from enfilade.primitives.values.files import MAX_SIZE, MOST_LISTED, Directory, file_reader, size_of
from enfilade.primitives.values.media import guess_mime_type
from enfilade.serving.changes import PROMPTS, RESOURCES, Changes
from enfilade.serving.context import Context
from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    import os

    from enfilade.primitives import completion as _completion, prompt as _prompt, resource as _resource
    from enfilade.primitives.completion import Source
    from enfilade.primitives.prompt import Prompt
    from enfilade.primitives.resource import Resource, ResourceTemplate
    from enfilade.wire.content import Annotations, Icon
    from enfilade.wire.message import CacheScope
else:  # with pydantic, which takes long to load; and most servers offer nothing but tools
    _completion = LazyModule("enfilade.primitives.completion")
    _prompt = LazyModule("enfilade.primitives.prompt")
    _resource = LazyModule("enfilade.primitives.resource")

F = TypeVar("F", bound=Callable[..., Any])


class ResourceOptions(TypedDict, total=False):
    """What `@app.resource` takes besides the URI; see `add_resource`."""

    name: str | None
    title: str | None
    description: str | None
    mime_type: str | None
    size: int | None
    annotations: Annotations | Mapping[str, Any] | None
    icons: Sequence[Icon] | None
    meta: Mapping[str, Any] | None
    ttl: float
    cache_scope: CacheScope
    complete: Mapping[str, Source] | None
    verbatim: Sequence[str]


class Offer:
    """Resources, templates and prompts.

    Attributes:
        resources: what can be read, by URI.
        templates: families of resources, by template, in the order in which they are tried.
        prompts: the prompts, by name.
        changes: hears of every change of the three.
    """

    def __init__(self) -> None:
        self.changes = Changes()
        self.resources: Registry[Resource] = Registry(
            "resource", key=lambda each: each.uri, alias=lambda each: each.canonical_uri
        )
        self.templates: Registry[ResourceTemplate] = Registry(
            "resource template", key=lambda each: each.uri_template
        )
        self.prompts: Registry[Prompt] = Registry("prompt")
        self.resources.on_change(lambda: self.changes.announce(RESOURCES))
        self.templates.on_change(lambda: self.changes.announce(RESOURCES))
        self.prompts.on_change(lambda: self.changes.announce(PROMPTS))

    def offered_names(self) -> list[str]:
        """Return the names of all that is offered."""
        return [*self.resources.names(), *self.templates.names(), *self.prompts.names()]

    # -- resources ---------------------------------------------------------------------------------------------

    def resource(self, uri: str, **options: Unpack[ResourceOptions]) -> Callable[[F], F]:
        """Offer a function as a resource, or as a template if the URI has variables: `@app.resource("a://{b}")`.

        The function stays as it is. Options are those of `add_resource`.
        """

        def register(fn: F) -> F:
            self.add_resource(fn, uri, **options)
            return fn

        return register

    @advised("resource")
    def add_resource(
        self,
        fn: Callable[..., Any],
        uri: str,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        mime_type: str | None = None,
        size: int | None = None,
        annotations: Annotations | Mapping[str, Any] | None = None,
        icons: Sequence[Icon] | None = None,
        meta: Mapping[str, Any] | None = None,
        ttl: float = 0,
        cache_scope: CacheScope = "private",
        complete: Mapping[str, Source] | None = None,
        verbatim: Sequence[str] = (),
    ) -> Resource | ResourceTemplate:
        """Offer a function, method or callable object as a resource or a template.

        Args:
            fn: sync or async; returns text, bytes, data, files or contents. It has a parameter for each variable
                of the URI, and may take `Context`.
            uri: where it is read; an RFC 6570 template if it has variables in braces.
            name: its name; by default the function's.
            title: its name for people.
            description: what it holds; by default the docstring's text.
            mime_type: its media type; guessed by default.
            size: in bytes, if it is known and stays; for a resource only.
            annotations: for whom it is (`audience`), how much it matters (`priority`), `last_modified`.
            icons: pictures, https or data URIs.
            meta: members of the `_meta` of the definition, and of contents that have none of their own.
            ttl: seconds for which clients may keep what they read.
            cache_scope: `public` only if it is the same for everybody.
            complete: what suggests values, by variable: a function, a list, an Enum.
            verbatim: variables whose values may hold `..` or an absolute path, which are refused otherwise.

        Returns:
            The resource or the template.

        Raises:
            TypeError: variables and parameters are not the same; names the first at fault.
            ValueError: the URI is not legal or taken.
        """
        given: dict[str, Any] = {
            "context_type": Context,
            "name": name,
            "title": title,
            "description": description,
            "mime_type": mime_type,
            "annotations": annotations,
            "icons": icons,
            "meta": meta,
            "caching": Caching(ttl, cache_scope),
        }
        if "{" in uri:
            if size is not None:
                raise ValueError(f'"{uri}" is a template, and what it stands for has no one size')
            template = _resource.template_from_function(fn, uri, complete=complete, verbatim=verbatim, **given)
            self.templates.add(template)
            return template
        if complete or verbatim:
            raise ValueError(f'"{uri}" has no variables, so there is nothing to complete or to take verbatim')
        resource = _resource.resource_from_function(fn, uri, size=size, **given)
        self.resources.add(resource)
        return resource

    def add_text_resource(
        self,
        uri: str,
        text: str,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        mime_type: str | None = None,
        annotations: Annotations | Mapping[str, Any] | None = None,
        icons: Sequence[Icon] | None = None,
        meta: Mapping[str, Any] | None = None,
        ttl: float = 0,
        cache_scope: CacheScope = "private",
    ) -> Resource:
        """Offer a text under a URI.

        Args:
            uri: where it is read.
            text: what it holds.
            name: its name; by default the end of the URI.
            mime_type: its media type; guessed from the URI, else `text/plain`.

        The other arguments are those of `add_resource`.

        Raises:
            ValueError: the URI is not legal or taken.
        """
        definition = _resource.define_resource(
            uri,
            name or _end_of(uri),
            title=title,
            description=description,
            mime_type=mime_type or guess_mime_type(uri) or "text/plain",
            size=len(text.encode("utf-8", "replace")),
            annotations=annotations,
            icons=icons,
            meta=meta,
        )
        resource = _resource.Resource(
            uri, definition, giving(text, f"the text of {uri}"), Caching(ttl, cache_scope)
        )
        self.resources.add(resource)
        return resource

    def add_file_resource(
        self,
        uri: str,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        mime_type: str | None = None,
        annotations: Annotations | Mapping[str, Any] | None = None,
        icons: Sequence[Icon] | None = None,
        meta: Mapping[str, Any] | None = None,
        ttl: float = 0,
        cache_scope: CacheScope = "private",
        max_size: int = MAX_SIZE,
    ) -> Resource:
        """Offer a file under a URI; it is read anew each time.

        Args:
            uri: where it is read.
            path: the file. It need not exist yet; while it does not, the resource is not found.
            name: its name; by default the file's.
            mime_type: its media type; guessed from the file's name or its bytes by default.
            max_size: largest file that is read, in bytes.

        The other arguments are those of `add_resource`.

        Raises:
            ValueError: the URI is not legal or taken.
        """
        file = Path(path)
        guess = mime_type or guess_mime_type(file.name)
        definition = _resource.define_resource(
            uri,
            name or file.name,
            title=title,
            description=description,
            mime_type=guess,
            size=None,
            annotations=annotations,
            icons=icons,
            meta=meta,
        )
        read = file_reader(uri, file, guess, max_size)
        handler = handler_of(read, read_signature(read, Context))
        resource = _resource.Resource(uri, definition, handler, Caching(ttl, cache_scope), partial(size_of, file))
        self.resources.add(resource)
        return resource

    def add_directory(
        self,
        uri: str,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        annotations: Annotations | Mapping[str, Any] | None = None,
        icons: Sequence[Icon] | None = None,
        meta: Mapping[str, Any] | None = None,
        ttl: float = 0,
        cache_scope: CacheScope = "private",
        hidden: bool = False,
        max_size: int = MAX_SIZE,
        most_listed: int = MOST_LISTED,
    ) -> ResourceTemplate:
        """Offer the files below a directory: `add_directory("docs://", "handbook")`.

        They are listed as they are at the time of asking, and read when a client asks. What is outside of the
        directory, also by a symbolic link, is not there.

        Args:
            uri: what the URIs of the files begin with; the path below the directory follows.
            path: the directory.
            name: the name of the template; by default the directory's.
            hidden: whether files and directories whose names begin with a dot are there.
            max_size: largest file that is read, in bytes.
            most_listed: most files that are listed; further ones can still be read.

        The other arguments are those of `add_resource`.

        Returns:
            The template that the files are read by.

        Raises:
            ValueError: there is no such directory, or the URI is not legal or taken.
        """
        root = Path(path)
        directory = Directory(uri, root, hidden=hidden, max_size=max_size, limit=most_listed)
        template = _resource.template_from_function(
            directory.read,
            directory.uri_template,
            context_type=Context,
            name=name or root.resolve().name or _end_of(uri),
            title=title,
            description=description or f"A file of {root.resolve().name}, by its path.",
            annotations=annotations,
            icons=icons,
            meta=meta,
            caching=Caching(ttl, cache_scope),
            complete={"path": directory.suggest},
            verbatim=["path"],
            members=directory.listed,
        )
        self.templates.add(template)
        return template

    def remove_resource(self, uri: str) -> None:
        """Stop offering a resource, or a template by its template.

        Raises:
            KeyError: there is neither.
        """
        registry: Registry[Any] = self.templates if uri in self.templates else self.resources
        registry.remove(uri)

    # -- prompts -----------------------------------------------------------------------------------------------

    @overload
    def prompt(self, fn: F, /) -> F: ...

    @overload
    def prompt(
        self,
        fn: str | None = None,
        /,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        icons: Sequence[Icon] | None = None,
        meta: Mapping[str, Any] | None = None,
        complete: Mapping[str, Source] | None = None,
    ) -> Callable[[F], F]: ...

    def prompt(self, fn: Any = None, /, **options: Any) -> Any:
        """Offer a function as a prompt: `@app.prompt`, `@app.prompt(title=…)` or `@app.prompt("name")`.

        The function stays as it is. Options are those of `add_prompt`.
        """
        if isinstance(fn, str):
            fn, options = None, with_name(fn, options)
        if fn is not None:
            self.add_prompt(fn, **options)
            return fn

        def register(function: F) -> F:
            self.add_prompt(function, **options)
            return function

        return register

    @advised("prompt")
    def add_prompt(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        icons: Sequence[Icon] | None = None,
        meta: Mapping[str, Any] | None = None,
        complete: Mapping[str, Source] | None = None,
    ) -> Prompt:
        """Offer a function, method or callable object as a prompt.

        Args:
            fn: sync or async; returns text, a message, or a list of them. Its parameters are the arguments, which
                arrive as their types say; it may take `Context`.
            name: the prompt's name; by default the function's.
            title: its name for people.
            description: what it is for; by default the docstring's text.
            icons: pictures, https or data URIs.
            meta: members of the definition's `_meta`.
            complete: what suggests values, by argument: a function, a list, an Enum.

        Returns:
            The prompt.

        Raises:
            TypeError: the function cannot be a prompt; names the parameter at fault.
            ValueError: the name is not legal or taken.
        """
        prompt = _prompt.prompt_from_function(
            fn,
            context_type=Context,
            name=name,
            title=title,
            description=description,
            icons=icons,
            meta=meta,
            complete=complete,
        )
        self.prompts.add(prompt)
        return prompt

    def remove_prompt(self, name: str) -> None:
        """Stop offering a prompt.

        Raises:
            KeyError: there is no such prompt.
        """
        self.prompts.remove(name)

    # -- completion --------------------------------------------------------------------------------------------

    def completion(self, of: str, argument: str) -> Callable[[F], F]:
        """Let a function suggest values for an argument: `@app.completion("greet", "name")`.

        The function takes what was typed (as `value`, or as its only parameter), the arguments that are settled
        (as `arguments`) and `Context`, or any of these, and returns a list of strings, best first.

        Args:
            of: a prompt by its name, or a resource template by its template; registered before.
            argument: the argument.

        Raises:
            TypeError: the function has parameters that nothing can be put into.
            ValueError: there is no such prompt, template or argument.
        """

        def register(fn: F) -> F:
            self._complete(of, argument, fn)
            return fn

        return register

    def _complete(self, of: str, argument: str, source: Source) -> None:
        prompt, template = self.prompts.get(of), self.templates.get(of)
        item = prompt or template
        if item is None:
            raise ValueError(f'there is no prompt or resource template "{of}" to complete; register it first')
        if argument not in item.arguments:
            known = ", ".join(item.arguments) or "none"
            raise ValueError(f'"{of}" has no argument "{argument}" to complete; it has: {known}')
        completers = {**item.completers, argument: _completion.completer_of(source, Context)}
        if prompt is not None:
            self.prompts.update(replace(prompt, completers=completers))
        elif template is not None:
            self.templates.update(replace(template, completers=completers))


def with_name(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return options with a name that was given by position: `@app.tool("name")`.

    Raises:
        TypeError: they have another.
    """
    if options.get("name") not in (None, name):
        raise TypeError(f"there are two names: {name!r} and {options['name']!r}")
    return {**options, "name": name}


def _end_of(uri: str) -> str:
    """Return the last part of a URI that says something."""
    return uri.rstrip("/").replace("://", "/").rpartition("/")[2] or uri
