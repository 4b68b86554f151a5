"""What a server tells those who look for servers: its card and its catalog, and the `server.json` of a registry.

Nothing of it is loaded for a server without a registry name.
"""
