"""Litestar over redpool."""
