"""Libraries that take a pool, a class of pools, or a client."""
