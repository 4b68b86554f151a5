"""Providers of tokens for other services: what is known of each, and the requests to them."""
