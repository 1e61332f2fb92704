"""Which code is under test: `INTERLEAVING_ADAPTER` names another adapter's module, of an older tree for one."""

from __future__ import annotations

import importlib
import os

from .world import Adapter

adapter: Adapter = importlib.import_module(os.environ.get("INTERLEAVING_ADAPTER", "interleaving.adapter")).adapter
