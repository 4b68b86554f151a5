"""Serves one request, whichever transport received it: HTTP, stdio or memory.

No code here knows a socket or an HTTP message.
"""
