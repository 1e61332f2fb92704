"""Sentinel and Cluster, on real servers."""
