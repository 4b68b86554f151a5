"""Caches, memories and queues with bounds, so that nobody takes the room of others."""
