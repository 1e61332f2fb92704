"""Exporters: each a file of its own, which imports the library it exports to. All read `pool.stats()` when asked.

- `redpool.metrics.prometheus`: the extra `redpool[prometheus]`
- `redpool.metrics.opentelemetry`: the extra `redpool[opentelemetry]`
- `redpool.metrics.logs`: the standard library
"""
