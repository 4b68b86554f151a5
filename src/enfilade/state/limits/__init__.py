"""What processes share to keep limits of calls: slots of concurrent calls, and rates."""
