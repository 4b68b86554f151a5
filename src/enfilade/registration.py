"""What a server offers: tools, resources, templates and prompts, and completion for their arguments.

`MCPApp` is built on this. Nothing here serves anything; it turns functions, texts and files into definitions and
keeps them in registries, which may change at any time and from any thread.

Tools are listed as their author named them, or under qualified names; either way the qualified name finds them.

Easy to get wrong: what is a template. A URI with a variable in braces is one, and its function has a parameter
for each variable; a URI without is a resource, and its function has none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, cast, overload

from enfilade.primitives.errors import named_in_errors
from enfilade.primitives.handler import constant_handler, handler_of
from enfilade.primitives.metadata import Caching
from enfilade.primitives.names import qualified_name
from enfilade.primitives.options import (
    BUDGET_OPTIONS,
    LIMIT_OPTIONS,
    OUTCOME_OPTIONS,
    TASK_OPTIONS,
    DirectoryOptions,
    FixedResourceOptions,
    PromptOptions,
    ResourceOptions,
    ToolOptions,
    ViewOptions,
)
from enfilade.primitives.other_frameworks import advice_on_arguments, translate_options
from enfilade.primitives.registry import Registry, ToolRegistry
from enfilade.primitives.schema.signature import describe, is_async, raw_name, read_signature
from enfilade.primitives.values.media import (
    MAX_SIZE,
    MOST_LISTED,
    Directory,
    file_reader,
    guess_mime_type,
    size_of,
)
from enfilade.serving.context import Context
from enfilade.serving.subscriptions import PROMPTS, RESOURCES, TOOLS, Change, Changes
from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    import os
    from types import ModuleType

    from enfilade.extensions import apps as _apps
    from enfilade.extensions.skills import extension as _skills
    from enfilade.extensions.skills.extension import SkillsExtension
    from enfilade.extensions.skills.options import GeneratedSkillOptions, SkillOptions
    from enfilade.extensions.skills.skill import Skill
    from enfilade.primitives import (
        access as _access,
        completion as _completion,
        prompt as _prompt,
        resource as _resource,
        tool as _tool,
        tool_decorator as _tool_decorator,
    )
    from enfilade.primitives.access import Access
    from enfilade.primitives.completion import Source
    from enfilade.primitives.limits import (
        call_limits as _call_limits,
        outcome_policy as _outcome_policy,
        result_budget as _result_budget,
        task_policy as _task_policy,
    )
    from enfilade.primitives.prompt import Prompt
    from enfilade.primitives.resource import Resource, ResourceTemplate
    from enfilade.primitives.tool import Tool
    from enfilade.serving.extensions import contract as _extensions
    from enfilade.serving.extensions.contract import Extension, Extensions
else:  # with pydantic, which takes long to load; and most servers offer nothing but tools
    _access = LazyModule("enfilade.primitives.access")
    _apps = LazyModule("enfilade.extensions.apps")
    _call_limits = LazyModule("enfilade.primitives.limits.call_limits")
    _completion = LazyModule("enfilade.primitives.completion")
    _outcome_policy = LazyModule("enfilade.primitives.limits.outcome_policy")
    _prompt = LazyModule("enfilade.primitives.prompt")
    _resource = LazyModule("enfilade.primitives.resource")
    _result_budget = LazyModule("enfilade.primitives.limits.result_budget")
    _extensions = LazyModule("enfilade.serving.extensions.contract")
    _skills = LazyModule("enfilade.extensions.skills.extension")
    _task_policy = LazyModule("enfilade.primitives.limits.task_policy")
    _tool = LazyModule("enfilade.primitives.tool")
    _tool_decorator = LazyModule("enfilade.primitives.tool_decorator")

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")
ExtensionT = TypeVar("ExtensionT", bound="Extension")


class Registration:
    """Tools, resources, templates and prompts.

    Args:
        name: the server's name, which qualifies the tools' names.
        qualified: list the tools under their qualified names.
        schema_refs: leave the references in derived schemas.

    Attributes:
        tools: the tools, by listed name, in listed order.
        resources: what can be read, by URI.
        templates: families of resources, by template, in the order in which they are tried.
        prompts: the prompts, by name.
        changes: hears of every change of the four.
        extensions: what was added to the protocol; None if nothing was.
    """

    def __init__(self, name: str, *, qualified: bool, schema_refs: bool = False) -> None:
        self.name = name
        self._qualify = qualified
        self._schema_refs = schema_refs
        self.changes = Changes()
        self.tools = ToolRegistry(self._invalidate, alias=None if qualified else self._qualified)
        self.resources: Registry[Resource] = Registry(
            "resource", key=lambda resource: resource.uri, alias=lambda resource: resource.canonical_uri
        )
        self.templates: Registry[ResourceTemplate] = Registry(
            "resource template", key=lambda template: template.uri_template
        )
        self.prompts: Registry[Prompt] = Registry("prompt")
        self.extensions: Extensions | None = None
        self._announce(TOOLS, self.tools, lambda tool: tool.name)
        self._announce(RESOURCES, self.resources, lambda resource: resource.uri)
        self._announce(RESOURCES, self.templates, lambda template: template.uri_template)
        self._announce(PROMPTS, self.prompts, lambda prompt: prompt.name)

    def _announce(self, change: Change, registry: Registry[Any], key: Callable[[Any], str]) -> None:
        """Announce the changes of a registry, each to those who may see what it is about."""

        def announce(items: Sequence[Any]) -> None:
            audience = tuple(item.access for item in items)
            if None in audience:
                self.changes.announce(change)
            else:
                names = tuple(key(item) for item in items)
                self.changes.announce(change.about(names, audience))

        registry.on_change(announce)
        self.changes.find_access_in(change.method, registry.get)

    def required_scopes(self) -> tuple[str, ...]:
        """Return the scopes that tools, resources, templates and prompts need, in order, each once.

        Those of what is not visible to everybody are left out, since anybody may read them.
        """
        registries: Iterable[Registry[Any]] = (self.tools, self.resources, self.templates, self.prompts)
        open_to_all = (
            item.access
            for registry in registries
            for item in registry
            if item.access is not None and item.access.visible is None
        )
        return tuple(dict.fromkeys(scope for access in open_to_all for scope in access.scopes))

    # -- extensions --------------------------------------------------------------------------------------------

    @named_in_errors("app.add_extension")
    def add_extension(self, extension: ExtensionT) -> ExtensionT:
        """Add an extension of the protocol: methods, settings that are declared, functions around calls of tools.

        Args:
            extension: an `Extension` of `enfilade.extensions`.

        Returns:
            The extension.

        Raises:
            TypeError: it is no extension.
            ValueError: another one has its id, or one of its methods.
            RuntimeError: the server has been used already.
        """
        if self.extensions is None:
            self.extensions = _extensions.Extensions()
        self.extensions.add(extension)
        extension.attach(self)
        return extension

    def offered_names(self) -> list[str]:
        """Return the names of all that is offered."""
        return [*self.tools.names(), *self.resources.names(), *self.templates.names(), *self.prompts.names()]

    # -- tools -------------------------------------------------------------------------------------------------

    @overload
    def tool(self, fn: F, /) -> F: ...

    @overload
    def tool(self, fn: str | None = None, /, **options: Unpack[ToolOptions]) -> Callable[[F], F]: ...

    @advice_on_arguments("tool", ToolOptions)
    def tool(self, fn: Any = None, /, **options: Any) -> Any:
        """Offer a function as a tool: `@app.tool`, `@app.tool(title=…)` or `@app.tool("name")`.

        The function stays as it is, callable and typed. Options are those of `add_tool`.
        """
        return _decorated(self.add_tool, fn, options)

    @advice_on_arguments("tool", ToolOptions)
    def add_tool(self, fn: Callable[..., Any], **options: Unpack[ToolOptions]) -> Tool:
        """Offer a function, method or callable object as a tool.

        Args:
            fn: sync or async; a parameter annotated `Context` gets the call's context.

        The options are those of `ToolOptions`: name, texts, schemas, limits.

        Returns:
            The tool.

        Raises:
            TypeError: the function cannot be a tool; names the parameter at fault.
            ValueError: the name is not allowed or taken, or an option has a value that it cannot have.
        """
        arguments: dict[str, Any] = {**options}
        name = arguments.pop("name", None)
        ui = arguments.pop("ui", None)
        if ui is not None:
            ui, arguments["meta"] = self._views().meta_of_tool(fn, ui, arguments.get("meta"))
        if arguments.get("output_schema", ...) is None:  # given as None, which means here what it does in FastMCP
            if arguments.get("structured_output"):
                raise ValueError(
                    "output_schema=None sends no structured content, and structured_output=True does"
                )
            arguments["structured_output"] = False
        if not arguments.keys().isdisjoint(LIMIT_OPTIONS):
            arguments["limits"] = _call_limits.read_limits(describe(fn), _taken(arguments, LIMIT_OPTIONS))
        if not arguments.keys().isdisjoint(OUTCOME_OPTIONS):
            outcomes = _outcome_policy.read_outcome_policy(describe(fn), _taken(arguments, OUTCOME_OPTIONS))
            arguments["outcomes"] = outcomes
        if not arguments.keys().isdisjoint(BUDGET_OPTIONS):
            arguments["budget"] = _result_budget.read_budget(describe(fn), _taken(arguments, BUDGET_OPTIONS))
        if not arguments.keys().isdisjoint(TASK_OPTIONS):
            options_of_task = _taken(arguments, TASK_OPTIONS)
            policy = _task_policy.read_task_policy(describe(fn), options_of_task, is_async=is_async(fn))
            arguments["task"] = policy
            if policy is not None:
                self.offer_tasks()
        tool = _tool.tool_from_function(
            fn,
            context_type=Context,
            name=qualified_name(self.name, name or raw_name(fn)) if self._qualify else name,
            schema_refs=self._schema_refs,
            **arguments,
        )
        self.tools.add(tool)
        if ui is not None:
            self._views().remember(tool.name, ui)
        if tool.budget is not None and tool.budget.on_overflow == "link":
            self.offer_whole_results()
        return tool

    async def _invalidate(self, tool: Tool, arguments: Mapping[str, Any] | None) -> None:
        """Forget the cached results of a tool; what serves it says how."""

    def offer_tasks(self) -> None:
        """Offer that calls run as tasks; what serves them says how."""

    def offer_whole_results(self) -> None:
        """Offer the whole results that links lead to; what serves them says how."""

    def _qualified(self, tool: Tool) -> str:
        return qualified_name(self.name, tool.name)

    @named_in_errors("app.add_tools_from_module")
    def add_tools_from_module(self, module: str | ModuleType) -> list[Tool]:
        """Offer every function marked with `@enfilade.tool` in a module or package, installed or not.

        Args:
            module: the module, or its dotted name.

        Returns:
            The tools, in the order of their definitions.

        Raises:
            TypeError: a mark has an option that tools do not have.
            ValueError: it marks no function.
            ImportError: it cannot be imported.
        """
        functions = _tool_decorator.tools_in_module(module)
        if not functions:
            name = module if isinstance(module, str) else module.__name__
            raise ValueError(f"{name} has no tools: mark functions with `from enfilade import tool` and `@tool`")
        return [self._add_marked(fn) for fn in functions]

    def _add_marked(self, fn: Callable[..., Any]) -> Tool:
        try:
            options = translate_options("tool", _tool_decorator.options_of(fn) or {}, ToolOptions.__annotations__)
        except TypeError as error:
            raise TypeError(f"@tool of {describe(fn)}: {error}") from None
        return self.add_tool(fn, **cast("ToolOptions", options))

    def remove_tool(self, name: str) -> None:
        """Stop offering a tool.

        Raises:
            KeyError: there is no such tool.
        """
        self.tools.remove(name)

    # -- resources ---------------------------------------------------------------------------------------------

    @advice_on_arguments("resource", ResourceOptions)
    def resource(self, uri: str, **options: Unpack[ResourceOptions]) -> Callable[[F], F]:
        """Offer a function as a resource, or as a template if the URI has variables: `@app.resource("a://{b}")`.

        The function stays as it is. Options are those of `add_resource`.

        Raises:
            TypeError: there is no URI.
        """
        _check_uri(uri, '@app.resource("scheme://...")')
        return _decorator(partial(self.add_resource, uri=uri), options)

    @advice_on_arguments("resource", ResourceOptions)
    def add_resource(
        self, fn: Callable[..., Any], uri: str, **options: Unpack[ResourceOptions]
    ) -> Resource | ResourceTemplate:
        """Offer a function, method or callable object as a resource or a template.

        Args:
            fn: sync or async; returns text, bytes, data, files or contents. It has a parameter for each variable
                of the URI, and may take `Context`.
            uri: where it is read; an RFC 6570 template if it has variables in braces.

        The options are those of `ResourceOptions`: name, texts, media type, caching.

        Returns:
            The resource or the template.

        Raises:
            TypeError: variables and parameters are not the same; names the first at fault.
            ValueError: the URI is not legal or taken.
        """
        _check_uri(uri, 'app.add_resource(fn, "scheme://...")')
        caching, access, arguments = _separated(uri, options)
        arguments |= {"context_type": Context, "caching": caching, "access": access}
        complete, verbatim = arguments.pop("complete", None), arguments.pop("verbatim", ())
        if "{" in uri:
            if arguments.pop("size", None) is not None:
                raise ValueError(f'"{uri}" is a template, and what it stands for has no one size')
            template = _resource.template_from_function(
                fn, uri, complete=complete, verbatim=verbatim, **arguments
            )
            self.templates.add(template)
            return template
        if complete or verbatim:
            raise ValueError(f'"{uri}" has no variables, so there is nothing to complete or to take verbatim')
        resource = _resource.resource_from_function(fn, uri, **arguments)
        self.resources.add(resource)
        return resource

    @advice_on_arguments("resource", FixedResourceOptions)
    def add_text_resource(self, uri: str, text: str, **options: Unpack[FixedResourceOptions]) -> Resource:
        """Offer a text under a URI.

        Args:
            uri: where it is read.
            text: what it holds.

        The options are those of `ResourceOptions`, but for `size`, `complete` and `verbatim`. The media type is
        guessed from the URI by default, else it is `text/plain`.

        Raises:
            ValueError: the URI is not legal or taken.
        """
        _check_uri(uri, 'app.add_text_resource("scheme://...", text)')
        caching, access, arguments = _separated(uri, options)
        definition = _resource.define_resource(
            uri,
            arguments.pop("name", None) or _end_of(uri),
            mime_type=arguments.pop("mime_type", None) or guess_mime_type(uri) or "text/plain",
            size=len(text.encode("utf-8", "replace")),
            **arguments,
        )
        handler = constant_handler(text, f"the text of {uri}")
        resource = _resource.Resource(uri, definition, handler, caching, access=access)
        self.resources.add(resource)
        return resource

    @advice_on_arguments("resource", FixedResourceOptions)
    def add_file_resource(
        self,
        uri: str,
        path: str | os.PathLike[str],
        *,
        max_size: int = MAX_SIZE,
        **options: Unpack[FixedResourceOptions],
    ) -> Resource:
        """Offer a file under a URI; it is read anew each time.

        Args:
            uri: where it is read.
            path: the file. It need not exist yet; while it does not, the resource is not found.
            max_size: largest file that is read, in bytes.

        The options are those of `ResourceOptions`, but for `size`, `complete` and `verbatim`. The media type is
        guessed from the file's name or its bytes by default.

        Raises:
            ValueError: the URI is not legal or taken.
        """
        _check_uri(uri, 'app.add_file_resource("scheme://...", path)')
        file = Path(path)
        caching, access, arguments = _separated(uri, options)
        mime_type = arguments.pop("mime_type", None) or guess_mime_type(file.name)
        definition = _resource.define_resource(
            uri, arguments.pop("name", None) or file.name, mime_type=mime_type, **arguments
        )
        read = file_reader(uri, file, mime_type, max_size)
        handler = handler_of(read, read_signature(read, Context))
        resource = _resource.Resource(uri, definition, handler, caching, partial(size_of, file), access)
        self.resources.add(resource)
        return resource

    @advice_on_arguments("resource", DirectoryOptions)
    def add_directory(
        self,
        uri: str,
        path: str | os.PathLike[str],
        *,
        hidden: bool = False,
        max_size: int = MAX_SIZE,
        most_listed: int = MOST_LISTED,
        **options: Unpack[DirectoryOptions],
    ) -> ResourceTemplate:
        """Offer the files below a directory: `add_directory("docs://", "handbook")`.

        They are listed as they are at the time of asking, and read when a client asks. What is outside of the
        directory, also by a symbolic link, is not there.

        Args:
            uri: what the URIs of the files begin with; the path below the directory follows.
            path: the directory.
            hidden: whether files and directories whose names begin with a dot are there.
            max_size: largest file that is read, in bytes.
            most_listed: most files that are listed; further ones can still be read.

        The options are those of `ResourceOptions`, but for `mime_type`, `size`, `complete` and `verbatim`.

        Returns:
            The template that the files are read by.

        Raises:
            ValueError: there is no such directory, or the URI is not legal or taken.
        """
        _check_uri(uri, 'app.add_directory("scheme://", path)')
        root = Path(path)
        caching, access, arguments = _separated(uri, options)
        directory = Directory(uri, root, hidden=hidden, max_size=max_size, limit=most_listed)
        folder = root.resolve().name
        template = _resource.template_from_function(
            directory.read,
            directory.uri_template,
            context_type=Context,
            name=arguments.pop("name", None) or folder or _end_of(uri),
            description=arguments.pop("description", None) or f"A file of {folder}, by its path.",
            caching=caching,
            complete={"path": directory.suggest},
            verbatim=["path"],
            members=directory.definitions,
            access=access,
            **arguments,
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

    # -- views -------------------------------------------------------------------------------------------------

    @advice_on_arguments("view", ViewOptions)
    def view(
        self, uri: str, *, template: str | os.PathLike[str] | None = None, **options: Unpack[ViewOptions]
    ) -> Callable[[F], F]:
        """Offer a function as a view of MCP Apps: `@app.view("ui://weather")`.

        It returns an HTML document. Data comes to the view with the result of the tool that names it (`ui=`), so
        the document is the same for all calls.

        Args:
            uri: where hosts read it; it begins with `ui://`.
            template: the file of a template of jinja2; the function then returns the values for it, a dict.

        The options are those of `ViewOptions`: name, texts, `csp`, `permissions`.

        Raises:
            TypeError, ValueError: the URI or an option cannot be.
            ModuleNotFoundError: `template` needs jinja2.
        """
        _check_uri(uri, '@app.view("ui://...")')

        def register(fn: F) -> F:
            self._offer_view(_apps.view_from_function(fn, uri, template, _with_caching(uri, options)))
            return fn

        return register

    @advice_on_arguments("view", ViewOptions)
    def add_view(
        self,
        uri: str,
        *,
        html: str | None = None,
        file: str | os.PathLike[str] | None = None,
        folder: str | os.PathLike[str] | None = None,
        template: str | os.PathLike[str] | None = None,
        values: Mapping[str, Any] | None = None,
        entry: str = "index.html",
        assets: Literal["inline", "served"] = "inline",
        base_url: str | None = None,
        max_size: int = MAX_SIZE,
        **options: Unpack[ViewOptions],
    ) -> Resource:
        """Offer a text, a file, the folder of a built front end or a template as a view of MCP Apps.

        Files are read anew when they have changed.

        Args:
            uri: where hosts read it; it begins with `ui://`.
            html: the document.
            file: an HTML file.
            folder: what a build of a front end has written; scripts, styles and images are put into the document.
            template: the file of a template of jinja2.
            values: what the template shows.
            entry: the HTML file in the folder.
            assets: `served` to name the assets of a folder by their address below `base_url`, which is allowed
                in `csp` then.
            base_url: where they are served.
            max_size: most bytes of all files of the view.

        The options are those of `ViewOptions`: name, texts, `csp`, `permissions`.

        Returns:
            The view, which is a resource.

        Raises:
            TypeError, ValueError: an argument cannot be, or the URI is taken.
            ModuleNotFoundError: `template` needs jinja2.
        """
        _check_uri(uri, 'app.add_view("ui://...", file="view.html")')
        view = _apps.view_of_document(
            uri,
            html=html,
            file=file,
            folder=folder,
            template=template,
            values=values,
            entry=entry,
            assets=assets,
            base_url=base_url,
            max_size=max_size,
            options=_with_caching(uri, options),
        )
        self._offer_view(view)
        return view

    def _views(self) -> _apps.Apps:
        """Return the extension for views, which the first one adds.

        Raises:
            RuntimeError: the server has been used already.
        """
        extension = None if self.extensions is None else self.extensions.get(_apps.APPS)
        if extension is None:
            try:
                return self.add_extension(_apps.Apps())
            except RuntimeError:
                raise RuntimeError(
                    "the first view, or tool with ui=, must be added before the server is first used; if all "
                    "come later, write app.add_extension(Apps()) at the top; Apps is in enfilade.extensions.apps"
                ) from None
        assert isinstance(extension, _apps.Apps)
        return extension

    def _offer_view(self, view: _apps.View | _apps.ViewFamily) -> None:
        self._views()
        if isinstance(view, _apps.ViewFamily):
            self.templates.add(view)
        else:
            self.resources.add(view)

    # -- prompts -----------------------------------------------------------------------------------------------

    @overload
    def prompt(self, fn: F, /) -> F: ...

    @overload
    def prompt(self, fn: str | None = None, /, **options: Unpack[PromptOptions]) -> Callable[[F], F]: ...

    @advice_on_arguments("prompt", PromptOptions)
    def prompt(self, fn: Any = None, /, **options: Any) -> Any:
        """Offer a function as a prompt: `@app.prompt`, `@app.prompt(title=…)` or `@app.prompt("name")`.

        The function stays as it is. Options are those of `add_prompt`.
        """
        return _decorated(self.add_prompt, fn, options)

    @advice_on_arguments("prompt", PromptOptions)
    def add_prompt(self, fn: Callable[..., Any], **options: Unpack[PromptOptions]) -> Prompt:
        """Offer a function, method or callable object as a prompt.

        Args:
            fn: sync or async; returns text, a message, or a list of them. Its parameters are the arguments, which
                arrive as their types say; it may take `Context`.

        The options are those of `PromptOptions`: name, texts, completion.

        Returns:
            The prompt.

        Raises:
            TypeError: the function cannot be a prompt; names the parameter at fault.
            ValueError: the name is not legal or taken.
        """
        arguments: dict[str, Any] = {**options}
        prompt = _prompt.prompt_from_function(fn, context_type=Context, **arguments)
        self.prompts.add(prompt)
        return prompt

    def remove_prompt(self, name: str) -> None:
        """Stop offering a prompt.

        Raises:
            KeyError: there is no such prompt.
        """
        self.prompts.remove(name)

    # -- skills ------------------------------------------------------------------------------------------------

    def add_skills(self, path: str | os.PathLike[str], **options: Unpack[SkillOptions]) -> list[str]:
        """Offer a folder of skills: folders with a `SKILL.md`, at any depth; or the folder of one skill.

        Skills that break a rule are left out, and the log says why. The files are looked at again while the
        server runs. The options are those of `SkillOptions`: prefix, who may read them, caching.

        Args:
            path: the folder.

        Returns:
            The URIs of the skills that are served now.

        Raises:
            ModuleNotFoundError: there is no YAML parser, which `enfilade[skills]` has.
            TypeError, ValueError: there is no such folder, or an option has a value that it cannot have.
        """
        return self._with_skills(lambda skills: skills.add_folder(path, **options))

    def add_skill(self, skill: Skill, **options: Unpack[SkillOptions]) -> str:
        """Offer a skill that is made in code, a `Skill` of `enfilade.extensions.skills`.

        The options are those of `SkillOptions`: prefix, who may read it, caching.

        Returns:
            The URI of its `SKILL.md`.

        Raises:
            TypeError: it is no `Skill`.
            ValueError: another skill is at its place, it breaks a rule, or an option has a value that it cannot
                have.
        """
        return self._with_skills(lambda skills: skills.add_skill(skill, **options))

    @overload
    def skill(self, fn: F, /) -> F: ...

    @overload
    def skill(self, fn: str | None = None, /, **options: Unpack[GeneratedSkillOptions]) -> Callable[[F], F]: ...

    def skill(self, fn: Any = None, /, **options: Any) -> Any:
        """Offer a skill that a function writes at each request: `@app.skill` or `@app.skill(name=…)`.

        The function stays as it is. It takes nothing but the context, and returns the text after the front
        matter. Clients cannot verify such a skill, and some hosts do not load it. The options are those of
        `GeneratedSkillOptions`: name, description, front matter, and what `add_skill` takes.

        Raises:
            TypeError: the function has parameters.
            ValueError: as for `add_skill`.
        """

        def add(function: Callable[..., Any], **more: Any) -> str:
            return self._with_skills(lambda skills: skills.add_generated(function, **more))

        return _decorated(add, fn, options)

    @named_in_errors("app.remove_skill")
    def remove_skill(self, uri: str) -> None:
        """Stop offering a skill that is made in code, by the URI of its `SKILL.md`.

        Raises:
            KeyError: there is none at this URI.
        """
        if self.extensions is None or self.extensions.get(_skills.ID) is None:
            raise KeyError(f"no skill that was made in code is at {uri}")
        self._with_skills(lambda skills: skills.remove_skill(uri))

    def _with_skills(self, use: Callable[[SkillsExtension], R]) -> R:
        """Use what serves skills; it is added once it has the first of them."""
        known = None if self.extensions is None else self.extensions.get(_skills.ID)
        if known is not None:
            return use(cast("SkillsExtension", known))
        extension = _skills.SkillsExtension()
        used = use(extension)
        self.add_extension(extension)
        return used

    # -- completion --------------------------------------------------------------------------------------------

    @advice_on_arguments("completion")
    def completion(self, reference: str, argument: str) -> Callable[[F], F]:
        """Let a function suggest values for an argument: `@app.completion("greet", "name")`.

        The function takes what was typed (as `value`, or as its only parameter), the arguments that are settled
        (as `arguments`) and `Context`, or any of these, and returns a list of strings, best first.

        Args:
            reference: a prompt by its name, or a resource template by its template; registered before.
            argument: the argument.

        Raises:
            TypeError: the function has parameters that nothing can be put into.
            ValueError: there is no such prompt, template or argument.
        """

        def register(fn: F) -> F:
            self._complete(reference, argument, fn)
            return fn

        return register

    def _complete(self, reference: str, argument: str, source: Source) -> None:
        prompt, template = self.prompts.get(reference), self.templates.get(reference)
        item = prompt or template
        if item is None:
            raise ValueError(
                f'there is no prompt or resource template "{reference}" to complete; register it first'
            )
        if argument not in item.arguments:
            known = ", ".join(item.arguments) or "none"
            raise ValueError(f'"{reference}" has no argument "{argument}" to complete; it has: {known}')
        completers = {**item.completers, argument: _completion.completer_of(source, Context)}
        if prompt is not None:
            self.prompts.update(replace(prompt, completers=completers))
        elif template is not None:
            self.templates.update(replace(template, completers=completers))


def _decorated(add: Callable[..., object], fn: Any, options: dict[str, Any]) -> Any:
    """Register the function that a bare decorator got, or return the decorator: `@app.tool("name", …)`.

    Raises:
        TypeError: there are two names, by position and as an option.
    """
    if isinstance(fn, str):
        if options.get("name") not in (None, fn):
            raise TypeError(f"there are two names: {fn!r} and {options['name']!r}")
        options = {**options, "name": fn}
    elif fn is not None:
        return _decorator(add, options)(fn)
    return _decorator(add, options)


def _decorator(add: Callable[..., object], options: Mapping[str, Any]) -> Callable[[F], F]:
    """Return a decorator that registers a function and leaves it as it is."""

    def register(fn: F) -> F:
        add(fn, **options)
        return fn

    return register


def _check_uri(uri: object, usage: str) -> None:
    """Refuse what is no URI, such as the function of a decorator without parentheses.

    Raises:
        TypeError: says what to write.
    """
    if not isinstance(uri, str):
        name = describe(uri) if callable(uri) else f"a {type(uri).__name__}"
        raise TypeError(f"a resource needs a URI, which is a string, not {name}; write {usage}")


def _taken(options: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Take the options of some names out of others, and return them."""
    return {name: options.pop(name) for name in [name for name in options if name in names]}


def _separated(uri: str, options: Mapping[str, Any]) -> tuple[Caching, Access | None, dict[str, Any]]:
    """Return the hints for caching among the options of a resource, who may see it, and the other options.

    Raises:
        TypeError, ValueError: the scopes, `visible` or the hints cannot be; the text says which.
    """
    others = {**options}
    scopes, visible = others.pop("requires_scopes", ()), others.pop("visible", None)
    access = _access.read_access(f'resource "{uri}"', scopes, visible)
    caching = Caching(others.pop("ttl", 0), others.pop("cache_scope", "private"))
    if access is not None and caching.scope == "public":
        raise ValueError(
            f'resource "{uri}": cache_scope="public" lets proxies hand it to anybody, and it has '
            "requires_scopes or visible; leave one of them out"
        )
    return caching, access, others


def _with_caching(uri: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a view, with `caching` and `access` in place of what makes them."""
    caching, access, others = _separated(uri, options)
    return {**others, "caching": caching, "access": access}


def _end_of(uri: str) -> str:
    """Return the last path segment of a URI that is not empty."""
    return uri.rstrip("/").replace("://", "/").rpartition("/")[2] or uri
