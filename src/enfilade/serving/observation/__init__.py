"""One record of each request, and the observers that make something of it: the log, and others.

    transport ── open ──▶ RequestRecord ── begin ──▶ handler ── settle ──▶ transport ── close ──▶ observers

A transport opens a record when a request arrives, and closes it when its outcome was sent. In between the
dispatcher adds the `Request` and its result. Whatever is shown of a request is read from the record when it is
closed; nothing is computed for observers that there are not.

*How an observer is added.* Write a class with two methods, as `observer.Observer` has them:

    class Durations:
        def begin(self, record: RequestRecord) -> None: ...
        def end(self, record: RequestRecord) -> None: ...

`begin` is called in the task of the request, right before its middleware and handler: `record.request` is there,
and so is the trace context that its client sent (`record.trace`). A context variable that is set there is seen by
the handler. Chained calls (`ctx.tools.call`) have records of their own, with `record.parent`; they begin and end
in the task of their caller. `end` is called once for each record, also for a request that was refused and so has
no `begin` (`record.is_dispatched`). It is called in the event loop and must not block; what it raises is logged.

Then let `assembly.observers_of` return it where its setting is on. Without any observer there is no record, and a
call costs nothing more: `Dispatcher.observation` is None.

Easy to get wrong: an observer is chosen when the server starts. Whoever turns the log on later gets no records.
"""
