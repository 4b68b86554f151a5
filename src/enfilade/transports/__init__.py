"""How messages come and go. A transport knows headers, streams and pipes, but not what a tool is."""
