"""Which code is under test: `INTERLEAVING_ADAPTER` names another adapter's module, of an older tree for one."""

from __future__ import annotations

import importlib
import os

from .world import Adapter

_chosen = os.environ.get("INTERLEAVING_ADAPTER", "stress.interleaving.adapter")
adapter: Adapter = importlib.import_module(_chosen).adapter
