"""The server as its own authorization server, in front of a provider that registers no clients: `OAuthProxy`.

Nothing is kept but grants, sealed, in the store: registrations are in client ids, logins in the `state` and the
cookies of browsers, codes and tokens in themselves.
"""
