"""URIs of resources, and URI templates."""
