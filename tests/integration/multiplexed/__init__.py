"""Multiplexed connections, in both shells, under redis-py's clients and under redpool's."""
