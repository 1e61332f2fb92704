"""What is said of a pool's size, and of what would be if."""
