"""`HTTPStreamableTransport`: Streamable HTTP for a session loop that the user brings.

POST ─▶ BridgePost ─▶ SessionLoop.deliver ─▶ [read stream] ─▶ the user's loop ─▶ [write stream] ─▶
SessionLoop.route GET  ─▶ ServerStream      messages of the loop that belong to no request
"""
