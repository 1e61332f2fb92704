"""The public contract of the pool, written once and held against both shells, on a real server."""
