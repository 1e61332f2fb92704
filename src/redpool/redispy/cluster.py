"""redis-py's cluster clients: which commands go straight to the node that has their key, past redis-py's own code.

Only the usual goes this way: a command with one key and a usual reply. Whatever else a node answers, or does not, is
handed to redis-py's own code, as what its own first try has met: it follows a slot that has moved, finds out who has
which slot now, and tries again, as often as it would have.
"""

from __future__ import annotations

import math
from binascii import crc_hqx
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from redis.commands import READ_COMMANDS
from redis.crc import key_slot
from redis.exceptions import AskError, MaxConnectionsError, MovedError, TryAgainError

from ..errors import DeadlineExceeded, PoolClosed
from ..forks import begin_in_child, same_process
from .internals import CLUSTER_METHODS, policy_resolver, retries_of, untouched
from .packing import EMPTY_RESPONSE, NEVER_DECODE

FIRST = "redpool_first"
"""The option by which redis-py's `execute_command` hands on, to the first `_execute_command`, what its try has met."""

OF_THE_CALLER = (DeadlineExceeded, PoolClosed, MaxConnectionsError)
"""What tells nothing of the node: the caller's time is up, or its pool has refused it."""

REFUSED = (MovedError, AskError, TryAgainError)
"""What a node says that has not run a command: another one is to be asked, or the same one again."""

EARLIER: ContextVar[float] = ContextVar("redpool_earlier", default=0.0)
"""How long the try took that redis-py's code goes on from, while its recorder is on: its own clock begins then."""

_ATTEMPTS = 3  # of redis-py's, where neither its `retry` nor its `cluster_error_retry_attempts` says anything

_LAST_SLOT = 16383
_OTHERWISE = frozenset({"target_nodes", NEVER_DECODE, EMPTY_RESPONSE})
_NAMES = frozenset({*CLUSTER_METHODS, "_policy_resolver", "read_from_replicas", "load_balancing_strategy"})

# What the server says of commands whose keys redis-py finds in another way.
_OTHER_KEYS = frozenset({"movablekeys", "pubsub"})


def tries_again(options: Mapping[str, Any]) -> bool:
    """Return whether a cluster's client with these options tries late commands again, whichever node's they are."""
    policy = options.get("retry")
    return bool(options.get("cluster_error_retry_attempts", _ATTEMPTS) if policy is None else retries_of(policy))


class ShortcutCluster:
    """What the cluster clients of both shells decide alike: which node a command goes straight to."""

    command_flags: Any
    result_callbacks: Any
    commands_parser: Any
    encoder: Any
    load_balancing_strategy: Any = None
    nodes_manager: Any
    read_from_replicas: bool

    # So it stands until redis-py's `__init__`, which calls, is through.
    _sharing_names: frozenset[str] = frozenset()
    """the commands that may share; none where the nodes' pools are not ours"""
    _direct = False
    """whether commands may go straight to their nodes"""
    _balances = False
    """whether replicas read, too"""
    _most_words: dict[str, float] = {}  # noqa: RUF012  replaced before anything is written
    """for each command how many words it has at most that goes straight to its node; 0 where it never does"""

    def _prepare(self, sharing_names: frozenset[str], theirs: type) -> None:
        """Have the commands of these names go straight to their nodes; `theirs` is redis-py's class."""
        self._sharing_names, self._their_resolver = sharing_names, policy_resolver(theirs)
        self._find_way()

    def _find_way(self) -> None:
        """Find out whether commands may go straight to their nodes: not where others have a say in how they find it."""
        self._direct = (
            getattr(self, "_policy_resolver", None) is self._their_resolver
            and untouched(type(self), CLUSTER_METHODS)
            and vars(self).keys().isdisjoint(CLUSTER_METHODS)
        )
        self._balances = bool(self.read_from_replicas or self.load_balancing_strategy)
        self._most_words = {}

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in _NAMES and self._sharing_names:
            self._find_way()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        if name in _NAMES and self._sharing_names:
            self._find_way()

    def _node_of(self, args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        """Return the node that a command goes straight to; `None` where redis-py's own code sees to it."""
        name = args[0]
        most = self._most_words.get(name)
        if most is None:
            most = self._learn(name)
        if not 2 <= len(args) <= most or (options and not _OTHERWISE.isdisjoint(options)):
            return None
        key = args[1]
        if type(key) is str and "{" not in key:  # the usual, spelt out: this is the hot path
            slot = crc_hqx(key.encode(), 0) & _LAST_SLOT
        else:
            slot = key_slot(key if type(key) is bytes else self.encoder.encode(key))
        if self._balances:
            return self._balanced(name, slot)
        nodes = self.nodes_manager.slots_cache.get(slot)
        return nodes[0] if nodes else None

    def _balanced(self, name: str, slot: int) -> Any:
        if not same_process[0]:
            begin_in_child()  # what follows takes a lock
        if not self.nodes_manager.slots_cache.get(slot):
            return None
        reads = name in READ_COMMANDS
        strategy = self.load_balancing_strategy if reads else None
        return self.nodes_manager.get_node_from_slot(slot, self.read_from_replicas and reads, strategy)

    def _learn(self, name: str) -> float:
        """Return how many words a command of this name has at most that goes straight to its node; 0 for none."""
        known = self._most_words  # another thread may find that none goes straight, and replace it
        if not self._direct or name not in self._sharing_names or not self.commands_parser.commands:
            return 0
        settled = name in self.command_flags or name in self.result_callbacks or name.startswith("FT.")
        most = 0 if settled else _most_words(self.commands_parser.commands.get(name.lower()))
        known[name] = most
        return most


def _most_words(command: Any) -> float:
    """Return with how many words a command's first argument is its only key, by what the server says of it."""
    if command is None or not _OTHER_KEYS.isdisjoint(command["flags"]) or command["first_key_pos"] != 1:
        return 0
    if command["last_key_pos"] == 1:
        return math.inf
    return 2 if (command["last_key_pos"], command["step_count"]) == (-1, 1) else 0
