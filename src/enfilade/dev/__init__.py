"""`enfilade dev`: serve an app over HTTP, reload it when files change, and show a line for each request.

    parent: watches files ─▶ replaces ─▶ worker: app ─▶ record of each request ─▶ ScreenObserver ─▶ terminal

Easy to get wrong: a server that is not under development must not pay for this. No other package imports it.
"""
