"""MCP Apps (`io.modelcontextprotocol/ui`): tools with a view, an HTML document that hosts show in a sandbox.

    metadata ─ what authors write, as `_meta.ui` ───┐
    files ─ assets ─ front_end ─ documents ─ the HTML ─ views ─ resources ─ extension ─ declared and checked

Rules: X-APP-1 to X-APP-10 and R-573. Easy to get wrong: what a server sees of a view. It serves the document, and
calls of tools by a view arrive like any other; all else passes between the view and its host (X-APP-8).
"""

from enfilade.extensions.apps.extension import Apps as Apps, ViewError as ViewError
from enfilade.extensions.apps.files import has_doctype as has_doctype
from enfilade.extensions.apps.views import (
    View as View,
    ViewFamily as ViewFamily,
    view_from_function as view_from_function,
    view_of_document as view_of_document,
)
from enfilade.wire.apps import (
    APPS as APPS,
    VIEW_TYPE as VIEW_TYPE,
    ToolUi as ToolUi,
    ViewCsp as ViewCsp,
    ViewPermissions as ViewPermissions,
)

__all__ = ["Apps", "ToolUi", "View", "ViewCsp", "ViewError", "ViewPermissions"]
