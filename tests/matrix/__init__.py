"""redpool's tests on each supported version of redis-py."""
