"""Starlette and FastAPI over redpool."""
