"""Servers that behave as some do in the field."""
