"""Frameworks over redpool's pools, one module each: import the one for yours, such as `redpool.contrib.django`.

Each needs its framework, and nothing else of redpool needs them.
"""
