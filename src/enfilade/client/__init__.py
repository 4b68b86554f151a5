"""The official MCP client with scripted answers, for tests, the command line and the lint rules."""
