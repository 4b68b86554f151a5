"""`enfilade auth check`: what a client finds at a server that wants a token, step by step."""
