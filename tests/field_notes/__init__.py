"""What goes wrong for the users of Redis connection pools, by the numbers of the field notes, shown not to happen."""
