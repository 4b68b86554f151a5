"""The options of registration for tools, resources and prompts, each with its type and description.

Decorators and `add_…` methods take them by `**options: Unpack[ToolOptions]`, so type checkers and editors know
all of them. Easy to get wrong: nothing is evaluated here, since most of these types take long to load.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

if TYPE_CHECKING:
    from enfilade.primitives.access import Visible
    from enfilade.primitives.completion import Source
    from enfilade.primitives.metadata import DumpableModel
    from enfilade.wire.apps import ToolUi, ViewCsp, ViewPermissions
    from enfilade.wire.content import Annotations, Icon
    from enfilade.wire.message import CacheScope
    from enfilade.wire.tools import ToolAnnotations


#: Whose calls count together for a limit, and what a call beyond a limit does.
LimitPer = Literal["principal", "session", "client", "all"]
OnLimit = Literal["wait", "refuse"]

#: What happens to a result that is too large.
OnOverflow = Literal["error", "truncate", "link"]

#: Whether calls of a tool become tasks: where the client can have them, always, or never.
TaskSupport = Literal["optional", "required", "never"]

#: Who shares a cached result; and what a call does whose first run with the same key was stopped in its middle.
CachePer = Literal["principal", "all"]
OnInterrupted = Literal["run", "refuse"]


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
    requires_scopes: Iterable[str]
    """What its callers must be allowed: scopes of OAuth, all of them."""
    visible: Visible | None
    """Whether it is there for a caller: `def visible(principal: Principal | None, peer: Peer) -> bool`."""


class LimitOptions(TypedDict, total=False):
    """Limits of the calls of a tool, shared by all workers; `MCPApp` takes them for all calls together."""

    max_concurrency: int | None
    """How many calls run at the same time; further ones wait or are refused, as `on_limit` says."""
    rate_limit: str | None
    """How many calls begin in a period: `"60/minute"`, also of a second, an hour or a day."""
    limit_per: LimitPer
    """Whose calls count together: those of a `principal`, a `session` or a `client`; `all` by default."""
    on_limit: OnLimit
    """Whether a call without room should `wait`, which is the default, or be refused at once (`refuse`)."""
    max_wait: float
    """Seconds that a call waits at most, before it is refused; 30 by default."""


LIMIT_OPTIONS: Final = frozenset(LimitOptions.__annotations__)


class BudgetOptions(TypedDict, total=False):
    """How large the results of a tool may be; `MCPApp` takes the same for tools that do not say."""

    max_result: int | str | None
    """Most bytes of the content of a result, and of its structured content: `8000`, or `"2000 tokens"`."""
    on_overflow: OnOverflow
    """What becomes of a larger result: an `error`, which is the default; it is cut (`truncate`), or cut with a
    `link` to the whole."""


BUDGET_OPTIONS: Final = frozenset(BudgetOptions.__annotations__)


class OutcomeOptions(TypedDict, total=False):
    """Outcomes of a tool that are used again, by all workers: a cache, or idempotency."""

    cache: float | str | None
    """Seconds for which a call with the same arguments gets the same result, or `"5 minutes"`; for tools whose
    annotations say that they only read."""
    cache_per: CachePer
    """Who shares a result: the calls of a `principal`, which is the default, or `all`."""
    idempotent: bool
    """Whether a call that is repeated with the same key gets the outcome of the first one. The key is
    `enfilade/idempotencyKey` of `_meta`, or an argument."""
    idempotency_key: str | None
    """The name of the parameter whose value is the key."""
    idempotency_ttl: float | str
    """Seconds for which the first outcome is kept, or `"7 days"`; a day by default."""
    on_interrupted: OnInterrupted
    """What a repeated call does if the first run was stopped in its middle: it runs (`run`), which is the
    default, or it is refused (`refuse`)."""


OUTCOME_OPTIONS: Final = frozenset(OutcomeOptions.__annotations__)


class TaskOptions(TypedDict, total=False):
    """Whether calls of a tool run as tasks, which go on after their response."""

    task: TaskSupport | None
    """`optional`: where the client can have tasks; `required`: always, so other clients are refused; `never`, the
    default."""
    durable: bool
    """Keep what a task has asked, done once and slept in the store: if its worker dies, another one runs it again
    from the top, with all of that known."""
    task_after: float | str | None
    """Seconds after which a call becomes a task, in place of at once, or `"5 seconds"`; a faster one has a plain
    result."""


TASK_OPTIONS: Final = frozenset(TaskOptions.__annotations__)


class ToolOptions(Options, LimitOptions, BudgetOptions, OutcomeOptions, TaskOptions, total=False):
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
    requires_auth: object
    """Tokens of its caller at other services, which `ctx.auth` gives it: `GitHub(scopes=["repo"])` of
    `enfilade.auth`, or a list of such."""
    timeout: float | None
    """Seconds that a call of it may take; None for no limit of its own."""
    middleware: Iterable[Callable[..., Any]]
    """Around its calls alone, inside that of the app: `async def mw(request, call_next)`, outermost first."""
    audit: Literal["all", "names", "none"] | None
    """How much of its arguments the audit records; None for what the app says."""
    ui: str | Mapping[str, Any] | ToolUi | DumpableModel | None
    """Its view, which hosts show beside the result: a `ui://` URI, or a dict with `resource_uri` and
    `visibility`, a list of `model` and `app`."""


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


class ViewOptions(DirectoryOptions, total=False):
    """What `@app.view` and `app.add_view` take: how hosts show a view of MCP Apps, and options of resources."""

    csp: Mapping[str, Any] | ViewCsp | DumpableModel | None
    """The origins that it needs, by `connect_domains`, `resource_domains`, `frame_domains` and
    `base_uri_domains`; hosts block all others."""
    permissions: Iterable[str] | Mapping[str, Any] | ViewPermissions | DumpableModel | None
    """What it asks of the browser: `camera`, `microphone`, `geolocation`, `clipboard_write`."""
    domain: str | None
    """The origin that a host should give it, in the form that the host wants."""
    prefers_border: bool | None
    """Whether the host should draw a border and a background; None for what the host does."""


class ResourceOptions(FixedResourceOptions, total=False):
    """What `@app.resource` and `app.add_resource` take."""

    size: int | None
    """Bytes, if the size is known and stays; for a resource only."""
    complete: Mapping[str, Source] | None
    """What suggests values, by variable: a function, a list, an Enum."""
    verbatim: Sequence[str]
    """Variables whose values may hold `..` or an absolute path, which are refused otherwise."""
