"""Children that were forked without Python's knowledge, as uWSGI forks its workers."""
