"""From arguments to Python values, and from returned values to what is sent."""
