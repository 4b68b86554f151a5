"""A server in the configuration files of MCP clients: where they are, what an entry looks like, the edit.

Easy to get wrong: the file belongs to somebody else. Whatever in it is not our entry stays as it is, byte for
byte.
"""
