"""Arguments that functions of other frameworks take, and what to write here in their place.

Easy to get wrong: a substitute that does less than what it stands for. Where there is none, the text says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from enfilade.primitives.habits import AUTH, ENABLED, PROVIDERS, TASK, TRANSFORMS

_TAGS: Final = 'tags are not there; put them into meta={"tags": [...]}, and add and remove things while it runs'
_VERSIONS: Final = "one of each name is offered; put the version into its name or meta"
_DUPLICATES: Final = "two things of one name are always an error"
_STATELESS: Final = "both eras are served at once, and any worker serves any session"
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
    "max_sessions": "a session is sealed into its id and takes no memory, so there is no limit to set",
    **dict.fromkeys(("sse_path", "message_path"), _SSE),
}

_ANY: Final = {
    "tags": _TAGS,
    "auth": AUTH,
    "requires_auth": AUTH,
    "enabled": ENABLED,
    "task": TASK,
    "version": _VERSIONS,
    "app": 'the view of a tool stands in its meta: meta={"ui": {"resourceUri": "ui://..."}}',
    "dependencies": "let a parameter depend on it: x: Annotated[T, Depends(fn)]",
}
#: What to write for an option, by what takes it.
OPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "tool": _ANY
    | {
        "exclude_args": "make it a dependency, which no client sees: x: Annotated[T, Depends(fn)]",
        "serializer": "return text, or ToolResult(content=..., structured_content=...)",
        "response_model": "annotate what the function returns",
        "run_in_thread": "plain `def` functions always run in a thread, `async def` functions never",
        "requires_metadata": "read ctx.meta",
        **dict.fromkeys(
            ("read_only", "readOnlyHint", "destructive", "destructiveHint", "idempotent", "idempotentHint"),
            'hints stand in annotations={"read_only_hint": True, "destructive_hint": False, ...}',
        ),
    },
    "resource": _ANY | {"security": "verbatim=[...] names the variables that may hold any path"},
    "prompt": _ANY,
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
        **dict.fromkeys(("auth", "auth_server_provider", "token_verifier"), AUTH),
        "extensions": "extensions are not there; middleware sees every request",
        "subscriptions": "clients are told of changes by themselves, and by app.notify_resource_updated(uri)",
        "tags": _TAGS,
        "include_tags": _TAGS,
        "exclude_tags": _TAGS,
        "description": "what the client's model is told about the server is instructions=...",
        "desc": "what the client's model is told about the server is instructions=...",
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
        "session_state_store": "it is store=..., for what sessions need; values of yours belong into a database",
        "sampling_handler": "ctx.sample asks the client; call a model of your own from the tool",
        "streamable_http_path": "it is path=...",
        **_SETTINGS,
        "dereference_schemas": "what $ref refers to is written out in place; MCPApp(schema_refs=True) keeps it",
        "resource_security": "paths out of a folder are refused; verbatim=[...] of @app.resource takes them",
        "request_state_security": "it is sealed with secret=...",
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
