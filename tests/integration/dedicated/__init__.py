"""Dedicated connections, in both shells: the rules of the public contract, each written once."""
