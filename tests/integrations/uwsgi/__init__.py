"""The real uWSGI over redpool."""
