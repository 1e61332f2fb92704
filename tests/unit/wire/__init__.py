"""What is known of commands and sessions, and the requests of one connection."""
