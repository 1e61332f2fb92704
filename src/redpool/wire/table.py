"""Redis's commands as data: each name stands in one of the groups below, which says what running it means.

The groups follow the flags that `COMMAND` gives in Redis 7.0 and 7.4 (`readonly`, `write`, `blocking`, `pubsub`, the
arity), the pages at https://redis.io/docs/latest/commands/, and for what came later (Redis 8, Valkey 8 and 9) the flags
in those servers' own command tables. Commands of modules are unknown on purpose, but for vector sets: nothing tells
what they do. A test holds this file against each server found.

Where the groups leave a choice, a command stands in the more careful one.
"""

from __future__ import annotations

from typing import NamedTuple


def _names(text: str, container: str = "") -> frozenset[str]:
    return frozenset(f"{container} {name}".strip() for name in text.split())


def _subcommands(text: str) -> frozenset[str]:
    """Read a table that has a container a line, with its subcommands."""
    lines = (line.partition(":") for line in text.strip().splitlines())
    return frozenset().union(*(_names(subcommands, container.strip()) for container, _, subcommands in lines))


READS = _names("""
    BITCOUNT BITFIELD_RO BITPOS CLUSTERSCAN DBSIZE DIGEST DUMP EVALSHA_RO EVAL_RO EXISTS EXPIRETIME FCALL_RO
    GEODIST GEOHASH GEOPOS GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH GET GETBIT GETRANGE
    HEXISTS HEXPIRETIME HGET HGETALL HKEYS HLEN HMGET HPEXPIRETIME HPTTL HRANDFIELD HSCAN HSTRLEN HTTL HVALS
    KEYS LCS LINDEX LLEN LOLWUT LPOS LRANGE MGET PEXPIRETIME PFCOUNT PTTL RANDOMKEY
    SCAN SCARD SDIFF SDIFFCARD SINTER SINTERCARD SISMEMBER SMEMBERS SMISMEMBER SORT_RO SRANDMEMBER SSCAN
    STRALGO STRLEN SUBSTR SUNION SUNIONCARD TOUCH TTL TYPE XLEN XPENDING XRANGE XREAD XREVRANGE
    ZCARD ZCOUNT ZDIFF ZINTER ZINTERCARD ZLEXCOUNT ZMSCORE ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANK
    ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE ZUNION
    ARCOUNT ARGET ARGETRANGE ARGREP ARINFO ARLASTITEMS ARLEN ARMGET ARNEXT AROP ARSCAN
    VCARD VDIM VEMB VGETATTR VINFO VISMEMBER VLINKS VRANDMEMBER VRANGE VSIM
""") | _subcommands("""
    MEMORY: USAGE
    OBJECT: ENCODING FREQ IDLETIME REFCOUNT
    XINFO:  CONSUMERS GROUPS STREAM
""")  # fmt: skip
"""Flagged `readonly`: they change no data."""

LOOKS = _names("COMMAND ECHO INFO LASTSAVE PING ROLE TIME") | _subcommands("""
    ACL:        CAT DRYRUN GENPASS GETUSER HELP LIST USERS WHOAMI
    CLIENT:     GETNAME GETREDIR HELP ID INFO LIST TRACKINGINFO
    CLUSTER:    COUNT-FAILURE-REPORTS COUNTKEYSINSLOT GETKEYSINSLOT GETSLOTMIGRATIONS HELP INFO KEYSLOT LINKS MYID
    CLUSTER:    MYSHARDID NODES REPLICAS SHARDS SLAVES SLOT-STATS SLOTS
    COMMAND:    COUNT DOCS GETKEYS GETKEYSANDFLAGS HELP INFO LIST
    COMMANDLOG: GET HELP LEN
    CONFIG:     GET HELP
    FUNCTION:   DUMP HELP LIST STATS
    HOTKEYS:    GET HELP
    LATENCY:    DOCTOR GRAPH HELP HISTOGRAM HISTORY LATEST
    MEMORY:     DOCTOR HELP MALLOC-STATS STATS
    MODULE:     HELP LIST
    OBJECT:     HELP
    PUBSUB:     CHANNELS HELP NUMPAT NUMSUB SHARDCHANNELS SHARDNUMSUB
    SCRIPT:     EXISTS HELP SHOW
    SENTINEL:   CKQUORUM GET-MASTER-ADDR-BY-NAME GET-PRIMARY-ADDR-BY-NAME HELP INFO-CACHE MASTER MASTERS MYID
    SENTINEL:   PENDING-SCRIPTS PRIMARIES PRIMARY REPLICAS SENTINELS SLAVES
    SLOWLOG:    GET HELP LEN
    XGROUP:     HELP
    XINFO:      HELP
""")
"""They tell of the server or of the connection, and change nothing."""

OVERWRITES = _names("MSET PSETEX SETEX") | _subcommands("SCRIPT: LOAD")
"""Whatever was there before, the same is there afterwards, and the reply is the same. SET belongs here, too, where its
options let it."""

REWRITES = _names("HMSET LSET SETRANGE")
"""Twice in a row they leave the same and say the same, but only in a key that lives on in between; and what they say,
or whether they fail, depends on what was there."""

WRITES = _names("""
    APPEND BITFIELD BITOP COPY DECR DECRBY DEL DELEX DELIFEQ EVAL EVALSHA EXPIRE EXPIREAT FCALL FLUSHALL FLUSHDB
    GEOADD GEORADIUS GEORADIUSBYMEMBER GEOSEARCHSTORE GETDEL GETEX GETSET
    HDEL HEXPIRE HEXPIREAT HGETDEL HGETEX HINCRBY HINCRBYFLOAT HPERSIST HPEXPIRE HPEXPIREAT HSET HSETEX HSETNX
    INCR INCRBY INCRBYFLOAT INCREX LINSERT LMOVE LMOVEM LMPOP LPOP LPUSH LPUSHX LREM LTRIM
    MIGRATE MOVE MSETEX MSETNX PERSIST PEXPIRE PEXPIREAT PFADD PFDEBUG PFMERGE PUBLISH
    RENAME RENAMENX RESTORE RESTORE-ASKING RPOP RPOPLPUSH RPUSH RPUSHX
    SADD SDIFFSTORE SET SETBIT SETNX SFLUSH SINTERSTORE SMOVE SORT SPOP SPUBLISH SREM SUNIONSTORE SWAPDB UNLINK
    XACK XACKDEL XADD XAUTOCLAIM XCFGSET XCLAIM XDEL XDELEX XNACK XREADGROUP XSETID XTRIM
    ZADD ZDIFFSTORE ZINCRBY ZINTERSTORE ZMPOP ZPOPMAX ZPOPMIN ZRANGESTORE ZREM
    ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZUNIONSTORE
    ARDEL ARDELRANGE ARINSERT ARMSET ARRING ARSEEK ARSET
    VADD VREM VSETATTR
""") | _subcommands("""
    CLUSTER:  FLUSHSLOT
    FUNCTION: DELETE FLUSH LOAD RESTORE
    XGROUP:   CREATE CREATECONSUMER DELCONSUMER DESTROY SETID
""")  # fmt: skip
"""Running one twice can make a difference, in the data or in the reply."""

WRITE_WHEN_STORING = _names("GEORADIUS GEORADIUSBYMEMBER SORT")
"""Those of the writes that only read, unless they are told to STORE."""

ACTS = _names("BGREWRITEAOF BGSAVE FAILOVER PFSELFTEST REPLICAOF SAVE SLAVEOF") | _subcommands("""
    ACL:        DELUSER LOAD LOG SAVE SETUSER
    CLIENT:     KILL PAUSE UNBLOCK UNPAUSE
    CLUSTER:    ADDSLOTS ADDSLOTSRANGE BUMPEPOCH CANCELSLOTMIGRATIONS DELSLOTS DELSLOTSRANGE FAILOVER FLUSHSLOTS FORGET
    CLUSTER:    MEET MIGRATESLOTS MIGRATION REPLICATE RESET SAVECONFIG SET-CONFIG-EPOCH SETSLOT
    COMMANDLOG: RESET
    CONFIG:     RESETSTAT REWRITE SET
    FUNCTION:   KILL
    HOTKEYS:    RESET START STOP
    LATENCY:    RESET
    MEMORY:     PURGE
    MODULE:     LOAD LOADEX UNLOAD
    SCRIPT:     FLUSH KILL
    SENTINEL:   CONFIG DEBUG FAILOVER FLUSHCONFIG IS-MASTER-DOWN-BY-ADDR IS-PRIMARY-DOWN-BY-ADDR MONITOR REMOVE RESET
    SENTINEL:   SET SIMULATE-FAILURE
    SLOWLOG:    RESET
""")
"""They change the server or other connections, not data."""

RESCUES = _names("FAILOVER SHUTDOWN") | _subcommands("""
    CLIENT:   KILL UNBLOCK UNPAUSE
    FUNCTION: KILL
    SCRIPT:   KILL
""")
"""They end what keeps other commands from being answered, so they must not be queued behind such a command."""

SETTINGS = _names("ASKING AUTH HELLO READONLY READWRITE RESET SELECT UNWATCH WATCH") | _subcommands("""
    CLIENT: CAPA IMPORT-SOURCE MAINT_NOTIFICATIONS NO-EVICT NO-TOUCH SETINFO SETNAME TRACKING
""")
"""They set something of the connection's session; setting it twice is setting it once."""

SUBSCRIPTIONS = _names("PSUBSCRIBE PUNSUBSCRIBE SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE UNSUBSCRIBE")
"""Their replies are messages, and others may come at any time after."""

APART = _names("""
    BLMOVE BLMOVEM BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN WAIT WAITAOF
    DEBUG DISCARD EXEC MONITOR MULTI PSYNC QUIT REPLCONF SHUTDOWN SYNC
""") | _subcommands("""
    CLIENT:  CACHING REPLY
    CLUSTER: SYNCSLOTS
    HIMPORT: DISCARD DISCARDALL HELP PREPARE SET
    SCRIPT:  DEBUG
""")  # fmt: skip
"""They need a connection to themselves, and a second run is another thing than the first. WAIT tells of what was
written over its own connection, HIMPORT of fieldsets that were prepared there."""

KNOWN = READS | LOOKS | OVERWRITES | REWRITES | WRITES | ACTS | SETTINGS | SUBSCRIPTIONS | APART

CONTAINERS = frozenset(name.partition(" ")[0] for name in KNOWN if " " in name)


class Wait(NamedTuple):
    """How a command says how long the server is to wait for what it was asked."""

    argument: int | str
    """its index, the name being 0, or the option that it follows"""
    unit: float
    """seconds"""
    arity: int
    """the number of words, the name included; a negative number is the least, as in `COMMAND`"""


_SECOND, _MILLISECOND = 1.0, 0.001

WAITS = {
    "BLMOVE": Wait(-1, _SECOND, 6),
    "BLMOVEM": Wait(5, _SECOND, -6),
    "BLMPOP": Wait(1, _SECOND, -5),
    "BLPOP": Wait(-1, _SECOND, -3),
    "BRPOP": Wait(-1, _SECOND, -3),
    "BRPOPLPUSH": Wait(-1, _SECOND, 4),
    "BZMPOP": Wait(1, _SECOND, -5),
    "BZPOPMAX": Wait(-1, _SECOND, -3),
    "BZPOPMIN": Wait(-1, _SECOND, -3),
    "WAIT": Wait(-1, _MILLISECOND, 3),
    "WAITAOF": Wait(-1, _MILLISECOND, 4),
    "XREAD": Wait("BLOCK", _MILLISECOND, -4),
    "XREADGROUP": Wait("BLOCK", _MILLISECOND, -7),
}
"""The commands that may wait. What they ask for as 0 is: for ever."""

EXPIRIES = frozenset({"EX", "PX", "EXAT", "PXAT"})
"""The options of SET that a time follows."""
