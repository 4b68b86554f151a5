"""What a server tells monitoring systems about itself; nothing of it is loaded unless a setting asks for it.

Each outlet is a package of its own. Both read the records of requests (`enfilade.serving.observation`) and the
counts of the process (`enfilade.counters`).
"""
