"""What is known of Redis's commands and of what they do to a connection. Pure: no I/O, no waiting, no clock."""
