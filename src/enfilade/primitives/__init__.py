"""From Python functions to MCP definitions: signatures become schemas, arguments values, and values results.

Nothing in this room waits, reads a socket or knows who called: it maps between what an author wrote and what
the protocol says, and it can be used and tested without a server.

Easy to get wrong: everything dear (reading a signature, building a schema, compiling a validator) happens
once, when a tool is registered. What happens per call is one validation in and one serialization out.
"""
