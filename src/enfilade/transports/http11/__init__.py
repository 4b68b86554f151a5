"""HTTP/1.1 for `run()`: a protocol for uvicorn's server, and the limits of an open port."""
