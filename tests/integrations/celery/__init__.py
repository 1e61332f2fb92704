"""Celery over redpool."""
