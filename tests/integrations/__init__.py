"""Small applications of each framework over redpool, with the framework's own package: `make integrations`."""
