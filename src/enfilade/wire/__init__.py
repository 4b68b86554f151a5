"""The protocol as data: messages, revisions, envelopes, headers and event framing.

Nothing here does I/O, awaits, or knows another room. Wire names (camelCase) exist only in here.
"""
