"""The fault table: what goes wrong for users of Redis connection pools, on redis-py's pools and on redpool's.

The rows have the numbers of the field notes. `make faults` prints the table, and
`tests/integration/bench/test_fault_table.py` holds redpool's sides to it. The rows use the tests' harness for threads
and tasks, so `tests` has to be on the path.
"""
