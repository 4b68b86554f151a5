"""The protocol as data: messages, revisions, envelopes, headers and event framing.

Nothing here does I/O, awaits, or imports another package. Wire names (camelCase) exist only here.
"""
