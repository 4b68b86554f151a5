"""Logins of the command line at protected servers, by the OAuth client of the official SDK."""
