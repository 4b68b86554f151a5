"""Serving while somebody writes the server: reloading, and a line for each request.

    parent: watches files ─▶ renews ─▶ worker: Doorway (ASGI) ─▶ app ─▶ watch (middleware) ─▶ handler
                                              └── what never got to a handler   └── what did

Easy to get wrong: whoever is not watched must not pay for it. Nothing outside of this room knows of it.
"""
