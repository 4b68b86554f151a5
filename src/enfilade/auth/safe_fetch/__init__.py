"""Requests to URLs that strangers name: only to addresses of the public internet, and only for little data."""
