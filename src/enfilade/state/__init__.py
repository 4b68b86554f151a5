"""What a worker may lose and get back: sealed tokens that clients carry, and the store behind one `store=` URL.

Nothing here knows what a message means.
"""
