"""What an author states about calls: limits of concurrency and rate."""
