"""Measure redpool from outside: other clients, faults, walks through the package. None of it is in the wheel."""
