"""`HTTPStreamableTransport`: Streamable HTTP for a session loop that the user brings.

POST ─▶ BridgePost ─▶ SessionLoop.deliver ─▶ [read stream] ─▶ the user's loop
the user's loop ─▶ [write stream] ─▶ SessionLoop.route ─▶ the response of the POST that it belongs to
                                                       └▶ ServerStream (GET), if it belongs to none
"""
