"""What a worker may lose and get back: seals that clients carry, and keys that live behind one `store=` URL.

Nothing here knows what a message means.
"""
