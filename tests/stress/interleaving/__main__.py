"""Run one schedule again, and show it.

`PYTHONPATH=src:tests python -m stress.interleaving SCENARIO SCHEDULE [opcodes]`
"""

from __future__ import annotations

import ast
import sys

from .scenarios import named
from .search import Replay
from .subject import adapter

_, scenario, schedule, *opcodes = sys.argv
run = named(scenario).run(adapter, Replay(ast.literal_eval(schedule)), bool(opcodes))
sys.stdout.write(f"{run.trace()}\n{run.failure or 'nothing is wrong'}\n")
