"""What follows single calls."""
