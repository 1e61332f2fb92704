"""The fault table: what goes wrong for users of Redis connection pools, on redis-py's pools and on ours.

The rows have the numbers of the field notes. `make faults` prints the table, and
`tests/integration/bench/test_fault_table.py` holds our side to it. The rows use what the tests use to give threads and
tasks one face, so `tests` has to be on the path.
"""
