"""What the pages promise is so: code runs, layers hold, each promise has its tests."""
