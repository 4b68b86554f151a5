"""Metrics for Prometheus, by `prometheus-client` (extra `enfilade[prometheus]`).

    definitions.py   all metrics: their names, types, labels and texts
    requests.py      an observer that times requests; durations of one series, as plain numbers
    sampler.py       counts and gauges of the process, read four times a second; the lag of the event loop
    exposition.py    what a scrape gets, and who may scrape
    endpoint.py      `/metrics` on the port of the server
    own_port.py      a port of its own, served by a thread
    shared.py        workers: files in a folder, from which any of them answers for all
    ended.py         the files of ended workers, merged

Metrics belong to the process and are registered with the library's own registry. So metrics that an author
makes with `prometheus_client` are in the same scrape, and several apps of a process count together.
"""
