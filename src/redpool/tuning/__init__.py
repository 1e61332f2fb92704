"""Sizing and measuring: what a pool costs, and what a load makes of it."""
