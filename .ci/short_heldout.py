"""A third of the held-out conversations, four of each category: `.ci/short_heldout.py FILE`."""

import sys
from collections import defaultdict
from pathlib import Path

from helptune.data.conversation import load_curated, write_conversations

EACH = 4


def main(path: Path) -> None:
    by_category = defaultdict(list)
    for conversation in load_curated("heldout"):
        by_category[conversation.category].append(conversation)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_conversations(path, [c for found in by_category.values() for c in found[:: len(found) // EACH]])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
