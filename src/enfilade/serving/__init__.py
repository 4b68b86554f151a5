"""What happens to one request, whatever brought it: HTTP, pipes or memory.

No code here knows a socket, a header's place in a body, or which era it serves.
"""
