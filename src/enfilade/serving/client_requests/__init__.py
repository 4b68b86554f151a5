"""Requests to the client: elicitation, sampling and roots, in session-based and stateless revisions."""
