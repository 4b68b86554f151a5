"""Requests to the client: elicitation, sampling and roots, in both eras."""
