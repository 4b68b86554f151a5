"""The low-level `Server` of the official Python SDK under load, on the web server of the limit.

    python sdk_lowlevel_server.py PORT

It has sessions and answers in JSON. Its user does what `MCPServer` does for others: list the tools with their
schemas, read the arguments, and build the result. The easy thing to get wrong is the result: text and
structured content must both be there, as with every other row.
"""

import sys

import mcp_types as types
import uvicorn
from mcp.server import ServerRequestContext
from mcp.server.lowlevel import Server

_TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
_RESULT = {"type": "object", "properties": {"result": {"type": "string"}}, "required": ["result"]}
ECHO = types.Tool(name="echo", description="Return the text.", input_schema=_TEXT, output_schema=_RESULT)


async def list_tools(
    context: ServerRequestContext, params: types.PaginatedRequestParams | None
) -> types.ListToolsResult:
    """Return the only tool."""
    return types.ListToolsResult(tools=[ECHO])


async def call_tool(context: ServerRequestContext, params: types.CallToolRequestParams) -> types.CallToolResult:
    """Return the text."""
    if params.name != ECHO.name:
        raise ValueError(f"there is no tool {params.name}")
    text = (params.arguments or {})["text"]
    return types.CallToolResult(content=[types.TextContent(text=text)], structured_content={"result": text})


server = Server("bench", on_list_tools=list_tools, on_call_tool=call_tool)

if __name__ == "__main__":
    uvicorn.run(
        server.streamable_http_app(json_response=True),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        loop="uvloop",
        http="httptools",
    )
