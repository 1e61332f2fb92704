"""Django over redpool."""
