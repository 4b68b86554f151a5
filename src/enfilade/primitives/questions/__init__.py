"""Questions to a client, and what comes back for them."""
