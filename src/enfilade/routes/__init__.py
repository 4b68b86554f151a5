"""Plain HTTP beside the MCP endpoint: what handlers of `@app.route` get, and what they return.

Loaded when an app has a route: one without any loads nothing of this.
"""

from enfilade.routes.request import HttpError, RouteRequest
from enfilade.routes.response import Response

__all__ = ["HttpError", "Response", "RouteRequest"]
