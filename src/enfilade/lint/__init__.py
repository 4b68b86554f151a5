"""`enfilade check`: mistakes in a server that hosts, models and clients would otherwise find."""
