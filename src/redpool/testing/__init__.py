"""For tests of what uses a pool: an obedient server, a faulty network, scripted connections, a clock, simulated load.

See docs/testing.md.
"""

from .clock import Clock
from .proxy import FaultProxy
from .replies import Raw, Slow
from .scripted import Script
from .server import ScriptedServer
from .simulation import Simulation

__all__ = ["Clock", "FaultProxy", "Raw", "Script", "ScriptedServer", "Simulation", "Slow"]
