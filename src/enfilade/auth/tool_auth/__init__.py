"""Tokens by which tools act for their callers: consent, the vault that keeps them, and what tools get.

authorizer    decides, for one call of a tool, between a token that is there, a refresh and a question
asking        how a client is asked: in a session, in rounds, or by a text
pending       an authorization that a user has not ended yet, from the link to the callback
pages         the pages of it, and the requests that they lead to
redemption    a code becomes tokens, once
vault         what was granted, encrypted
refresh       its refresh, by one worker for all
visitor       who opens a page: the user who has caused it, or somebody else
"""
