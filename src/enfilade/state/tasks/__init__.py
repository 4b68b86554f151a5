"""Durable tasks: records with a version, which workers take when they are due, in one step of each store."""
