"""The examples over frameworks."""
