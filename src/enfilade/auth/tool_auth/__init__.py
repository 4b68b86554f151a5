"""Tokens by which tools act for their callers: consent, the vault that keeps them, and what tools get.

authorizer    decides, for one call of a tool, between a token that is there, a refresh and a question
asking        how a client is asked: in a session, in rounds, or by a text
pending       an authorization that a user has not ended yet, from the link to the callback
pages         the pages of it, and the requests that they lead to
vault         what was granted, encrypted, and its refresh
"""
