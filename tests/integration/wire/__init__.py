"""The table of commands and the rules of sessions, held against real servers."""
