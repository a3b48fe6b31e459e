"""The messages between devices that XLA has put into a compiled program, counted in its text."""

import math
import re
from collections import Counter

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_MESSAGE = re.compile(rf"= .*? ({'|'.join(KINDS)})(?:-start)?\((.*)")
_NAMED = re.compile(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}")
_COUNTED = re.compile(r"replica_groups=\[\d+,(\d+)\]")


def messages(program: str) -> Counter[str]:
    """{kind: how many places of the program send it}; what a device would send to itself alone is none."""
    found = (match for line in program.splitlines() if (match := _MESSAGE.search(line)))
    return Counter(match[1] for match in found if _group(match[2]) > 1)


def _group(attributes: str) -> float:
    """How many devices take part with each other: in `[4,2]<=...` 2, in `mesh['data'=2,'fsdp'=4] {'fsdp'}` 4."""
    if counted := _COUNTED.search(attributes):
        return int(counted[1])
    if named := _NAMED.search(attributes):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", named[1]))
        axes = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", named[2])  # 'tensor':(1)2 is a part of that axis
        return math.prod(int(part or sizes[axis]) for axis, part in axes)
    return math.inf
