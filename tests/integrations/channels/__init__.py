"""Channels over redpool."""
