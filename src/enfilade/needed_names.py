"""Names of modules that must not be hidden by a server's own file, such as a `mcp.py` or a `json.py`.

The folder of a server's file comes first on the import path, as when Python runs a script. If the file is called
like a package that is needed, it would be imported in its place by Enfilade, the official SDK or the standard
library.

Easy to get wrong: too much of this. A file whose name nobody needs, such as `server.py`, comes before any package
of that name that happens to be installed.
"""

import sys
from typing import Final

#: What Enfilade imports, and what that imports, with all extras.
PACKAGES: Final = frozenset(
    (
        *("_cffi_backend", "_pytest", "_yaml", "annotated_doc", "annotated_types", "anyio", "attr"),
        *("attrs", "certifi", "cffi", "click", "colorama", "cryptography", "docstring_parser", "dotenv"),
        *("enfilade", "h11", "hiredis", "httpcore", "httpcore2", "httptools", "httpx", "httpx2"),
        *("httpx_sse", "idna", "iniconfig", "jinja2", "jsonschema", "jsonschema_rs"),
        *("jsonschema_specifications", "jwt", "markdown_it", "markupsafe", "mcp", "mcp_types", "mdurl"),
        *("msgspec", "multipart", "opentelemetry", "packaging", "pluggy", "py", "pycparser", "pydantic"),
        *("pydantic_core", "pydantic_settings", "pygments", "pytest", "python_multipart", "pythoncom"),
        *("pywintypes", "redis", "referencing", "rich", "rpds", "shellingham", "sniffio", "sse_starlette"),
        *("starlette", "tomli", "truststore", "typer", "typing_extensions", "typing_inspection", "uvicorn"),
        *("uvloop", "websockets", "win32api", "win32con", "winloop", "wsproto", "yaml"),
    )
)

#: Modules of the standard library that nothing imports, so that a server's file may have their names.
_UNUSED: Final = frozenset(
    ("antigravity", "idlelib", "lib2to3", "test", "this", "tkinter", "turtle", "turtledemo")
)


def is_needed(name: str) -> bool:
    """Whether a top-level module of this name is one that a server imports, knowingly or not."""
    return name in PACKAGES or (name in sys.stdlib_module_names and name not in _UNUSED)
