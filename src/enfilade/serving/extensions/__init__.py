"""The contract of extensions, and how their methods are served."""
