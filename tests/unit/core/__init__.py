"""The pool's rules, shown on the pure core with literal times."""
