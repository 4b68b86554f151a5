"""From signatures and types to the JSON Schemas that are published."""
