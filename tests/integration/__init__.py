"""Pools and clients with a server, by subject."""
