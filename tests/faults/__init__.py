"""The fault table: what goes wrong for users of Redis connection pools, on redis-py's pools and on ours.

The rows have the numbers of the field notes. `make faults` prints the table; `test_rows.py` holds our side to it.
"""
