"""What a handler knows of its caller beyond the protocol: facts of the HTTP request, and state that is kept."""
