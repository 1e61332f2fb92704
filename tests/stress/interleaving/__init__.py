"""Threads run one at a time, in every order."""
