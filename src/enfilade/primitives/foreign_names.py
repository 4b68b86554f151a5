"""What to write here in place of the names of other frameworks: FastMCP, the official SDK, FastAPI, Starlette.

Tables alone; `other_frameworks.py` reads them. A class is recognized by its module and its name, so none of these
packages is imported. `mcp.types` of the official SDK are the protocol's own types, which results may hold; only
what belongs to its server (`mcp.server.…`) is foreign.

Easy to get wrong: a substitute that does less than what it stands for. Where there is none, the text says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Where it is all listed.
PAGE: Final = "docs/from-fastmcp.md"

AUTH: Final = "MCPApp(auth=ResourceServer(...)) checks tokens, with ResourceServer from enfilade.auth"
PRINCIPAL: Final = "ctx.principal says who calls: subject, issuer, client_id, scopes, claims and expires_at"
TOOL_AUTH: Final = "tokens of other services: requires_auth=GitHub(scopes=[...]) on the tool, ctx.auth in it"
SCOPES: Final = 'ask for scopes: requires_scopes=["notes:write"]; who calls is ctx.principal'
OAUTH_PROXY: Final = (
    'OAuthProxy(GitHub.client(id="...", secret="..."), public_url="https://...") of enfilade.auth lets users log '
    "in at a provider; ResourceServer(url, [issuer]) takes the tokens of an authorization server beside the app"
)
#: Providers of FastMCP that log in at somebody else, without `Provider`.
_HOSTED: Final = (
    *("GitHub", "Google", "Azure", "Auth0", "AWSCognito", "WorkOS", "AuthKit", "Descope", "Discord"),
    *("Keycloak", "OCI", "Scalekit", "Supabase", "InMemoryOAuth", "OAuth"),
)
ENABLED: Final = (
    "visible=fn says for whom it is there; app.remove_tool(name), remove_resource and remove_prompt take it away"
)
TRANSFORMS: Final = "transforms are not there; write a tool that calls another by ctx.tools.call"
PROVIDERS: Final = "providers are not there; use app.add_tool, app.add_tools_from_module and app.add_skills"
TASK: Final = 'calls of tools run as tasks: @app.tool(task="optional")'

#: Options that are called otherwise here.
SPELLINGS: Final = {
    "desc": "description",
    "summary": "title",
    "mimeType": "mime_type",
    "website": "website_url",
    "wanted": "response_type",
    "schema": "response_type",
    "isError": "is_error",
    "structuredContent": "structured_content",
    "_meta": "meta",
    "prefersBorder": "prefers_border",
}

_ROUTE: Final = 'write @app.route("/path", methods=["GET"])'
_ASGI: Final = "the app is an ASGI application itself: give `app` to the server, or app.host_route() to a host"
_CLIENT: Final = "as a client does: async with connect(app) as client: await client."
_MOUNT: Final = (
    "take its tools with app.add_tools_from_module(module), or give each server a path of an ASGI host"
)

#: What to write for an attribute of `MCPApp`.
APP_ATTRIBUTES: Final[Mapping[str, str]] = {
    "mount": _MOUNT,
    "import_server": _MOUNT,
    "include_router": _MOUNT,
    **dict.fromkeys(("custom_route", "get", "post"), _ROUTE),
    **dict.fromkeys(("http_app", "streamable_http_app", "sse_app"), _ASGI),
    **dict.fromkeys(
        ("run_http_async", "run_stdio_async", "run_streamable_http_async"), "await app.run_async(...)"
    ),
    **dict.fromkeys(
        ("from_openapi", "from_fastapi", "as_proxy"), "that is not there; write the tools that a model needs"
    ),
    "run_sse_async": "the HTTP+SSE transport of 2024 is not served; await app.run_async(...)",
    "session_manager": "sessions need no manager; " + _ASGI,
    **dict.fromkeys(("add_transform", "add_tool_transformation", "transforms", "wrap_transform"), TRANSFORMS),
    **dict.fromkeys(("enable", "disable"), ENABLED),
    "auth": "give it to MCPApp(auth=ResourceServer(...)); who calls is ctx.principal",
    **{
        f"_{kind}_manager": f"look at app.{kind}s, and add with app.add_{kind}(...)"
        for kind in ("tool", "resource", "prompt")
    },
    "local_provider": "look at app.tools, app.resources, app.templates and app.prompts",
    **{
        name: f"app.settings.{name}"
        for name in ("host", "port", "path", "transport", "log_level", "tool_names", "request_timeout")
    },
    "lifespan": "what it yielded is ctx.lifespan; app.has_lifespan says whether there is one",
    "add_provider": PROVIDERS,
    "add_template": "app.add_resource(fn, uri) takes URIs with variables as well",
    "add_completion_handler": '@app.completion("prompt or template", "argument")',
    "add_html_resource": "app.add_view(uri, html=...) offers a view",
    "required_extensions": "methods of an extension take requires_declaration=True",
    **dict.fromkeys(("get_tasks", "docket"), TASK),
    **dict.fromkeys(
        ("get_tools", "list_tools", "get_tool", "get_app_tool", "get_tool_by_hash"),
        "look at app.tools, by name app.tools.get(name)",
    ),
    **dict.fromkeys(
        ("get_resource", "get_resources", "get_resource_template", "list_resources", "list_resource_templates"),
        "look at app.resources and app.templates",
    ),
    **dict.fromkeys(("get_prompts", "list_prompts"), "look at app.prompts"),
    **{name: _CLIENT + f"{name}(...)" for name in ("call_tool", "read_resource", "get_prompt")},
    "render_prompt": _CLIENT + "get_prompt(...)",
    "get_context": "take it as a parameter: ctx: Context",
    "dependency_overrides": "with app.override(fn, other): ...",
    "on_event": "use MCPApp(lifespan=...)",
    **dict.fromkeys(
        ("middleware", "exception_handler"), "use @app.add_middleware on async def mw(request, call_next)"
    ),
}

#: What to write for the headers of a request.
HTTP: Final = (
    "ctx.http has headers, client and url of the caller's HTTP request, but no credentials; "
    "who calls is ctx.principal"
)

#: What to write for an attribute of `Context.log`.
LOG_ATTRIBUTES: Final[Mapping[str, str]] = {
    "warn": "await ctx.log.warning(...)",
    "fatal": "await ctx.log.critical(...)",
    "exception": "await ctx.log.error(...); the server's own log is Python's logging",
    "setLevel": "the client chooses the level",
}
#: What to write for an attribute of what `Context.sample` returns.
SAMPLE_ATTRIBUTES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("text", "result"), "text_of(result), with text_of from enfilade"),
    "history": "the conversation is what you gave to ctx.sample, and its result",
}
#: What to write for an attribute of `Context`.
CONTEXT_ATTRIBUTES: Final[Mapping[str, str]] = {
    **{
        level: f"await ctx.log.{level}(...)"
        for level in ("debug", "info", "notice", "warning", "error", "critical")
    },
    "report_progress": "await ctx.progress.report(done, total, message)",
    **dict.fromkeys(("request", "headers", "get_http_request"), HTTP),
    **dict.fromkeys(
        ("fastmcp", "mcp_server", "server"), "use the app itself, and ctx.tools, ctx.resources, ctx.prompts"
    ),
    "lifespan_context": "ctx.lifespan",
    "request_context": "ctx.lifespan, ctx.meta, ctx.request_id and ctx.peer have what it has",
    "session": "ctx.elicit, ctx.sample and ctx.roots ask the client; ctx.session_id is its id",
    "client_id": "ctx.principal.client_id, or ctx.peer.client_info for what the client says it is",
    **dict.fromkeys(("access_token", "token"), PRINCIPAL),
    **dict.fromkeys(("get_auth_token", "get_access_token"), TOOL_AUTH),
    "call_tool": "await ctx.tools.call(name, arguments)",
    "list_tools": "ctx.tools.list()",
    "read_resource": "await ctx.resources.read(uri)",
    "list_resources": "ctx.resources.list()",
    "get_prompt": "await ctx.prompts.get(name, arguments)",
    "list_prompts": "ctx.prompts.list()",
    "list_roots": "await ctx.roots()",
    "close_sse_stream": "ctx.close_stream()",
    "request_state": "ctx.input_state",
    "origin_request_id": "ctx.request_id",
    "transport": "a tool does not see the transport; ctx.session_id says whether there is a session",
    **dict.fromkeys(
        (f"notify_{kind}_changed" for kind in ("tools", "resources", "prompts")),
        "changes are announced by themselves when something is added or removed",
    ),
    "notify_resource_updated": "app.notify_resource_updated(uri)",
    "close_standalone_sse_stream": "a client closes its own stream; ctx.close_stream() ends that of this call",
    "protocol_version": "ctx.peer.revision",
    "client_capabilities": "ctx.peer.capabilities, or ctx.supports(name) for one",
    "client_extension_settings": "ctx.peer.capabilities has what the client declared",
    "client_supports_extension": "ctx.supports(name) knows the capabilities of the protocol",
    "is_background_task": "ctx.task_id is not None in a task",
    **dict.fromkeys(("enable_components", "disable_components", "reset_visibility"), ENABLED),
    "sample_step": "await ctx.sample(...)",
    "send_notification": "changes are announced by themselves; messages go by ctx.log and ctx.progress",
}


# -- options ---------------------------------------------------------------------------------------------------
_TAGS: Final = 'tags are not there; put them into meta={"tags": [...]}, and add and remove things while it runs'
_VERSIONS: Final = "one of each name is offered; put the version into its name or meta"
_DUPLICATES: Final = "two things of one name are always an error"
_STATELESS: Final = "clients with and without sessions are served at once, and any worker serves any session"
_ONE_SETTING: Final = "it is a setting: MCPApp(settings=Settings({0}=...)), or ENFILADE_{1} in the environment"

_KINDS: Final = ("tools", "resources", "prompts")
_SSE: Final = "the HTTP+SSE transport of 2024 is not served; the endpoint is path=..."
#: Settings that are called otherwise here.
_SETTINGS: Final = {
    foreign: _ONE_SETTING.format(name, name.upper())
    for foreign, name in {
        "host_origin_protection": "allowed_hosts",
        "transport_security": "allowed_hosts",
        "max_request_body_size": "body_limit",
        "session_idle_timeout": "session_ttl",
        "retry_interval": "stream_retry",
        "list_page_size": "page_size",
        "timeout_keep_alive": "idle_timeout",
        "timeout_graceful_shutdown": "shutdown_timeout",
        "limit_concurrency": "max_requests",
    }.items()
} | {
    "max_sessions": "a session is encrypted into its id and takes no memory, so there is no limit to set",
    **dict.fromkeys(("sse_path", "message_path"), _SSE),
}

_UI: Final = 'the view of a tool is ui="ui://...", and app.add_view(uri, html=...) or @app.view(uri) offers it'
_TOOLS_ALONE: Final = "tools alone have tokens of other services; call one: ctx.tools.call(...)"
_ANY: Final = {
    "tags": _TAGS,
    "auth": SCOPES,
    "enabled": ENABLED,
    "version": _VERSIONS,
    "dependencies": "let a parameter depend on it: x: Annotated[T, Depends(fn)]",
}
#: What to write for an option, by what takes it.
OPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "tool": _ANY
    | {
        **dict.fromkeys(("app", "resource_uri"), _UI),
        "visibility": 'it stands in ui={"resource_uri": "ui://...", "visibility": ["model", "app"]}',
        "exclude_args": "make it a dependency, which no client sees: x: Annotated[T, Depends(fn)]",
        "serializer": "return text, or ToolResult(content=..., structured_content=...)",
        "response_model": "annotate what the function returns",
        "run_in_thread": "plain `def` functions always run in a thread, `async def` functions never",
        "requires_metadata": "read ctx.meta",
        **dict.fromkeys(
            ("read_only", "readOnlyHint", "destructive", "destructiveHint", "idempotentHint"),
            'hints stand in annotations={"read_only_hint": True, "destructive_hint": False, ...}',
        ),
    },
    "resource": _ANY
    | {
        "requires_auth": _TOOLS_ALONE,
        "task": "tools alone run as tasks",
        "app": "a view is not a resource but a view: @app.view(uri, csp=..., permissions=...)",
        "security": "verbatim=[...] names the variables that may hold any path",
    },
    "view": _ANY
    | {
        "requires_auth": _TOOLS_ALONE,
        "mime_type": "views always have the media type of MCP Apps",
        "app": "its members are options of their own: csp=, permissions=, domain=, prefers_border=",
        "size": "views have none: they change with their files",
    },
    "prompt": {**_ANY, "requires_auth": _TOOLS_ALONE, "task": "tools alone run as tasks"},
    "result": {
        "data": "it is structured_content=..., and its JSON is the text as well",
        "text": "it is content=...",
        "annotations": "annotations belong to a block of the content: TextContent(text=..., annotations=...)",
    },
    "question": dict.fromkeys(
        ("response_title", "response_description"),
        "title and describe the fields of what is wanted: Field(title=...)",
    ),
    "middleware": dict.fromkeys(
        ("allow_origins", "allow_methods", "allow_headers", "allow_credentials", "allowed_hosts", "minimum_size"),
        "middleware of Starlette goes around the app: CORSMiddleware(app, ...); "
        "for browsers and host names there are the settings allowed_origins and allowed_hosts",
    ),
    "sample": {
        "result_type": "ask for JSON in the message, and read it from text_of(result) by a model of pydantic",
        "context": "what the client's model gets is messages, system_prompt and include_context",
        "mask_error_details": "it is always so: only the text of ToolError and its kin reaches the client",
        "max_tool_rounds": "one answer is one message; go on with the tools that it asks for yourself",
    },
    "completion": {},
    "resource server": {
        "required_scopes": "it is scopes=[...]",
        **dict.fromkeys(
            ("base_url", "resource_server_url", "resource_url", "server_url"),
            "the public URL of the endpoint is the first argument",
        ),
        **dict.fromkeys(
            ("issuer", "issuer_url", "issuers", "authorization_server"),
            "issuers are the second argument, a list",
        ),
        **dict.fromkeys(
            ("audience", "audiences"),
            "the resource is the audience; further ones go into AuthorizationServer(issuer, audiences=[...])",
        ),
        **dict.fromkeys(
            ("jwks_uri", "algorithm", "algorithms", "client_id", "client_secret"),
            "it is of one issuer: AuthorizationServer(issuer, ...)",
        ),
        **dict.fromkeys(("token_verifier", "verifier", "token_verifiers"), "it goes into verifiers=[...]"),
    },
    "run": {
        "show_banner": "there is no banner; log_level=... says how much is logged",
        **dict.fromkeys(("stateless_http", "stateless"), _STATELESS),
        "uvicorn_config": "what can be set is in Settings; or give `app` to a uvicorn of your own",
        "middleware": "middleware of Starlette goes around the app, which an ASGI server serves then",
        **_SETTINGS,
        "sockets": "it binds host and port itself; an ASGI server takes `app` and sockets of yours",
        "mount_path": "it is path=...",
        "streamable_http_path": "it is path=...",
        "event_store": "it is MCPApp(event_store=...)",
    },
    "server": {
        "token_verifier": "auth=ResourceServer(url, verifiers=[verifier]) of enfilade.auth takes it as it is",
        "auth_server_provider": OAUTH_PROXY,
        "extensions": "app.add_extension(extension) takes an Extension of enfilade.extensions",
        "subscriptions": "clients are told of changes by themselves, and by app.notify_resource_updated(uri)",
        "tags": _TAGS,
        "include_tags": _TAGS,
        "exclude_tags": _TAGS,
        "tools": "add each with app.add_tool(fn)",
        "resources": "add each with app.add_resource(fn, uri)",
        "dependencies": "packages stand in pyproject.toml",
        "mask_error_details": "it is always so: only the text of ToolError and its kin reaches the client",
        "strict_input_validation": "arguments are always validated; what is surely meant is converted",
        "stateless_http": _STATELESS,
        "transforms": TRANSFORMS,
        "providers": PROVIDERS,
        "tasks": TASK,
        "debug": 'use log_level="debug"',
        "session_state_store": "it is store=..., where ctx.state is kept as well",
        "sampling_handler": "ctx.sample asks the client; call a model of your own from the tool",
        "streamable_http_path": "it is path=...",
        **_SETTINGS,
        "dereference_schemas": "what $ref refers to is written out in place; MCPApp(schema_refs=True) keeps it",
        "resource_security": "paths out of a folder are refused; verbatim=[...] of @app.resource takes them",
        "request_state_security": "it is encrypted with secret=...",
        **dict.fromkeys(
            ("cache_ttl", "cache_scope", "cache_hints"),
            'use caching={"tools/list": Caching(ttl=60)}, and ttl= of resources',
        ),
        "tool_serializer": "return text, or ToolResult(content=..., structured_content=...)",
        "experimental_capabilities": "experimental capabilities are not there",
        "client_log_level": "the client chooses it for itself",
        "json_response": _ONE_SETTING.format("json_response", "JSON_RESPONSE"),
        **dict.fromkeys(
            ("on_duplicate", *(f"{how}_duplicate_{kind}" for how in ("on", "warn_on") for kind in _KINDS)),
            _DUPLICATES,
        ),
    },
}
#: What to write for an argument, by the function as authors call it.
ARGUMENTS: Final[Mapping[str, Mapping[str, str]]] = {
    "Depends": {
        "use_cache": "each dependency runs once per call, whoever needs it; for a new value give a factory",
        "scope": "what a generator opens is closed when the call is over",
        "dependency": "the function comes first: Depends(fn)",
    },
    "app.add_tools_from_module": {
        **dict.fromkeys(("prefix", "namespace"), 'name each tool: @tool("prefix_name")'),
        "tags": _TAGS,
    },
    "ToolError": {
        **dict.fromkeys(("code", "data"), 'the model reads the text; what programs read is meta={"code": ...}'),
        "log_level": "the server's own log is Python's logging",
    },
}


# -- types, exceptions and imported names ----------------------------------------------------------------------
#: The title of a package in errors, by the first part of its modules' names; `uncalled_for` is a part of fastmcp.
PACKAGES: Final = {
    "fastmcp": "fastmcp",
    "uncalled_for": "fastmcp",
    "mcp": "the official SDK",
    "fastapi": "FastAPI",
    "starlette": "Starlette",
}
#: Modules of which every class is foreign; of those of FastAPI and Starlette only those in `TYPES` are.
FOREIGN_MODULES: Final = ("fastmcp.", "uncalled_for.", "mcp.server.")

#: Classes of the official SDK's client, of whose modules most classes are protocol types.
CLIENTS: Final = ("Client", "ClientSession", "ClientSessionGroup")

_CONTEXT: Final = "take the context as ctx: Context, with Context from enfilade"
_DEPENDS: Final = "write x: Annotated[T, Depends(fn)], with Depends from enfilade"
_DATA: Final = "return data, text or ToolResult; status codes and headers are not the tool's to choose"
_CONTENTS: Final = "return text, bytes, data, or TextResourceContents and BlobResourceContents of enfilade"
_APP: Final = "use the app itself, and ctx.tools, ctx.resources, ctx.prompts"
_VERIFIER: Final = "AuthorizationServer(issuer, jwks_uri=..., audiences=[...]) of enfilade.auth verifies JWTs"
_GUARD: Final = f"nothing is to be put around the app: {AUTH}"

#: What to write for what says who may call, by the name of its class or function.
AUTH_NAMES: Final = {
    **dict.fromkeys(("JWTVerifier", "BearerAuthProvider"), _VERIFIER),
    "RemoteAuthProvider": 'auth=ResourceServer(url, ["https://idp..."]) names authorization servers to clients',
    **dict.fromkeys(("AuthSettings", "AuthProvider"), AUTH),
    "MultiAuth": "ResourceServer(url, [server, ...], verifiers=[...]) takes several; it is in enfilade.auth",
    **dict.fromkeys(
        ("StaticTokenVerifier", "DebugTokenVerifier"),
        'APIKeys({"sha256:...": Principal("ci")}) of enfilade.auth; for tests Issuer of enfilade.testing',
    ),
    "IntrospectionTokenVerifier": "Introspection(url, client_id, client_secret) of enfilade.auth",
    "TokenVerifier": "ResourceServer(url, verifiers=[verifier]) of enfilade.auth takes any verify_token(token)",
    **dict.fromkeys(("require_scopes", "require_auth", "restrict_tag", "AuthContext"), SCOPES),
    **dict.fromkeys(("AuthMiddleware", "RequireAuthMiddleware"), _GUARD),
    **dict.fromkeys(("BearerAuthBackend", "AuthContextMiddleware"), _GUARD),
    **dict.fromkeys(
        ("OAuthProxy", "OIDCProxy", "OAuthProvider", "OAuthAuthorizationServerProvider"), OAUTH_PROXY
    ),
    **dict.fromkeys((f"{name}Provider" for name in _HOSTED), OAUTH_PROXY),
}
#: What `enfilade.auth` has, and `enfilade` itself has not.
_IN_AUTH: Final = ("APIKeys", "AuthorizationServer", "Introspection", "Principal", "ResourceServer")

#: What to write for a type or a mark, by the name of its class without underscores at its beginning.
TYPES: Final = {
    **dict.fromkeys(("Context", "CurrentContext", "OptionalCurrentContext"), _CONTEXT),
    **dict.fromkeys(("Depends", "Security", "Resolve", "Shared"), _DEPENDS),
    **dict.fromkeys(("CurrentFastMCP", "FastMCP", "MCPServer"), _APP),
    **dict.fromkeys(("CurrentAccessToken", "AccessToken", "TokenClaim", "AuthenticatedUser"), PRINCIPAL),
    **dict.fromkeys(("CurrentHeaders", "CurrentRequest", "Header", "Cookie"), HTTP),
    **dict.fromkeys(("Request", "HTTPConnection", "WebSocket"), HTTP),
    **dict.fromkeys(("Response", "JSONResponse", "PlainTextResponse", "StreamingResponse"), _DATA),
    **dict.fromkeys(("FileResponse", "HTMLResponse", "RedirectResponse"), _DATA),
    **dict.fromkeys(("ResourceResult", "ResourceContent"), _CONTENTS),
    **dict.fromkeys(
        ("ToolResult", "Message", "UserMessage", "AssistantMessage", "PromptResult", "Image", "Audio", "File"),
        "use the class of this name from enfilade",
    ),
    **dict.fromkeys(("Progress", "ProgressLike", "InMemoryProgress"), CONTEXT_ATTRIBUTES["report_progress"]),
    "BackgroundTasks": "await what is to be done, or start a task of the lifespan's",
    "ServerSession": CONTEXT_ATTRIBUTES["session"],
    "UploadFile": "no client uploads files; take data: bytes, which callers send in base64, or a text",
    "FormData": "each of its fields is a parameter",
    **dict.fromkeys(CLIENTS, "open it in the lifespan, or in a dependency: x: Annotated[T, Depends(fn)]"),
    "ElicitationResult": "annotate Elicited of enfilade, which await ctx.elicit(message, T) returns",
    **dict.fromkeys(("Elicit", "ListRoots", "Sample"), "ask by await ctx.elicit, ctx.roots or ctx.sample"),
}

_RAISE: Final = "its text is kept from the client; raise {0} of enfilade where the client should read it"
#: What to raise for an exception, by the name of its class.
EXCEPTIONS: Final = {
    **{name: _RAISE.format(name) for name in ("ToolError", "ResourceError", "PromptError")},
    "NotFoundError": _RAISE.format("ResourceNotFound"),
    **dict.fromkeys(("ResourceNotFoundError", "ResourceSecurityError"), _RAISE.format("ResourceNotFound")),
    **dict.fromkeys(
        ("ValidationError", "AuthorizationError", "DisabledError", "InsufficientScopeError", "InvalidSignature"),
        _RAISE.format("ToolError"),
    ),
    **dict.fromkeys(("MCPError", "McpError", "HTTPException"), _RAISE.format("ToolError")),
}

_MIDDLEWARE: Final = "middleware is one function: async def mw(request: Request, call_next)"
_ANSWER: Final = "await ctx.elicit(message, T) returns Elicited, which has .action, .accepted and .data"
_FILES: Final = "app.add_text_resource, app.add_file_resource and app.add_directory make resources"
_VIEWS: Final = '@app.tool(ui="ui://...") has a view, and app.add_view(uri, html=...) or @app.view(uri) offers it'
_VIEW_OPTIONS: Final = 'views take dicts and lists: csp={"connect_domains": [...]}, permissions=["camera"]'
_DECORATE: Final = "decorate a function: @app.tool, @app.resource(uri) or @app.prompt"

#: What to register in place of an object, by the name of its class or of one of its bases.
COMPONENTS: Final = {
    **dict.fromkeys(("Tool", "FunctionTool"), "give its function: app.add_tool(fn, name=...)"),
    **dict.fromkeys(("Prompt", "FunctionPrompt"), "give its function: app.add_prompt(fn, name=...)"),
    "TextResource": "app.add_text_resource(uri, text)",
    "FileResource": "app.add_file_resource(uri, path)",
    "DirectoryResource": "app.add_directory(uri, path)",
    **dict.fromkeys(
        ("Resource", "FunctionResource", "ResourceTemplate"), "give its function: app.add_resource(fn, uri)"
    ),
}

#: What to write for a name that is imported from `enfilade`, or for a module below it.
NAMES: Final = {
    **{name: advice for name, advice in TYPES.items() if name not in ("Depends", "Message")},
    **{name: advice.partition("; ")[2] or advice for name, advice in EXCEPTIONS.items()},
    **dict.fromkeys(("FastMCP", "MCPServer", "Server", "App"), "the server is MCPApp"),
    "FastMCPError": "the base of all errors is EnfiladeError",
    "Client": "connect(app) and connect(url) give the official client, whose class is mcp.Client",
    **dict.fromkeys(("Middleware", "MiddlewareContext", "CallNext", "middleware"), _MIDDLEWARE),
    **dict.fromkeys(("get_context", "RequestContext"), _CONTEXT),
    **dict.fromkeys(("get_http_headers", "get_http_request"), HTTP),
    "get_access_token": PRINCIPAL,
    **AUTH_NAMES,
    **dict.fromkeys(_IN_AUTH, "it is in enfilade.auth"),
    **dict.fromkeys(("auth.provider", "auth.providers", "auth.settings", "auth.middleware"), AUTH),
    "get_server": _APP,
    **dict.fromkeys(
        ("AcceptedElicitation", "DeclinedElicitation", "CancelledElicitation", "ElicitResult", "elicit"), _ANSWER
    ),
    **dict.fromkeys(("TextResource", "FileResource", "BinaryResource", "DirectoryResource"), _FILES),
    **dict.fromkeys(("Tool", "FunctionTool", "FunctionResource", "FunctionPrompt"), _DECORATE),
    **dict.fromkeys(("Resource", "ResourceTemplate", "Prompt", "resource", "prompt"), _DECORATE),
    **dict.fromkeys(("Apps", "AppConfig", "FastMCPApp", "PrefabAppConfig"), _VIEWS),
    **dict.fromkeys(("ResourceCSP", "ResourceCsp", "ResourcePermissions"), _VIEW_OPTIONS),
    "client_supports_apps": "ctx.client_supports_apps says whether the client shows views",
    "apps": _VIEWS,
    "HttpResource": "decorate a function that reads it: @app.resource(uri)",
    "PromptMessage": "use Message, UserMessage or AssistantMessage",
    "Lifespan": "MCPApp(lifespan=...) takes an @asynccontextmanager function",
    **dict.fromkeys(("Field", "BaseModel"), "it is in pydantic"),
    "stdio_server": "app.run() serves over stdio",
    "run": "app.run() serves",
    "ResourceSecurity": OPTIONS["resource"]["security"],
    "server": f"MCPApp, Context and Depends are in enfilade itself; {_MIDDLEWARE}",
    "dependencies": f"Depends is in enfilade itself; {_CONTEXT}",
    "utilities": "Image, Audio and File are in enfilade itself",
    "tools": "ToolResult is in enfilade itself",
    "prompts": "Message and PromptResult are in enfilade itself",
    "resources": _FILES,
    "contrib": PROVIDERS,
    "context": "Context is in enfilade itself",
    "types": "TextContent and the like are in enfilade itself, and all types of the protocol in mcp.types",
}
#: Those of them that a function must not use: they give nothing here, so that a check lets everybody in.
IN_BODIES: Final = {
    name: NAMES[name]
    for name in (
        *("get_access_token", "get_http_headers", "get_http_request", "get_context", "get_server"),
        *("AcceptedElicitation", "DeclinedElicitation", "CancelledElicitation"),
    )
} | {"get_session": CONTEXT_ATTRIBUTES["session"], "AcceptedUrlElicitation": _ANSWER}
#: Those of them that are modules elsewhere.
MODULES: Final = frozenset(
    (
        *("auth.provider", "auth.providers", "auth.settings", "auth.middleware"),
        "apps",
        "context",
        "contrib",
        "dependencies",
        "prompts",
        "resources",
        "server",
        "tools",
        "types",
        "utilities",
    )
)
