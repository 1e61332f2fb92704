"""Tasks that count the words of texts, each on whichever worker is free, and add them up.

celery --workdir examples/celery --app tasks worker
python examples/celery/tasks.py
"""

import os
from collections import Counter

from celery import Celery, chord

import redpool.contrib.celery  # noqa: F401  it makes URLs of redpool known to Celery

URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0").replace("redis://", "redpool://")
TEXTS = ["to be or not to be", "that is the question", "whether it is nobler in the mind to suffer"]

app = Celery("tasks", broker=URL, backend=URL)


@app.task
def count(text: str) -> dict[str, int]:
    """Count the words of a text."""
    return dict(Counter(text.split()))


@app.task
def add_up(counts: list[dict[str, int]]) -> list[tuple[str, int]]:
    """Return the three most frequent words of all texts."""
    return sum(map(Counter, counts), Counter()).most_common(3)


def main() -> None:
    """Have the words counted, and say which ones come most often."""
    found = chord([count.s(text) for text in TEXTS])(add_up.s()).get(timeout=30)
    print(", ".join(f"{word}: {times}" for word, times in found))


if __name__ == "__main__":
    main()
