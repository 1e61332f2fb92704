"""redpool's metrics over gunicorn's workers."""
