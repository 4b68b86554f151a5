"""From Python functions to MCP definitions: signatures become schemas, arguments values, and values results.

This package has no event loop, no sockets and no callers: it maps between Python and the protocol, and it can be
used and tested without a server.

Easy to get wrong: everything that takes long (reading a signature, building a schema, compiling a validator)
happens once, when a tool is registered. A call costs one validation and one serialization.
"""
