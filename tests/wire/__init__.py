"""What is known of commands and sessions, held against real servers."""
