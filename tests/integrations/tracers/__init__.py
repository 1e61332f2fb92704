"""Tracers over redpool's clients."""
