# SPDX-License-Identifier: Apache-2.0
"""Rings of switches made trees, and the branches cut that lead nowhere. Pure.

Where bridges form a ring, spanning tree (or nobody) keeps frames from going round.
One tree stands for all of them: breadth first from the first switch with a way out,
so that it is the same for the same host.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from sentinel.path.graph import Segment, SwitchKey


@dataclass(slots=True)
class Forest:
    """By switch: the neighbours that lead on to a way out, and those that close a ring."""

    exits: dict[SwitchKey, frozenset[SwitchKey]] = field(default_factory=dict)
    rings: dict[SwitchKey, frozenset[SwitchKey]] = field(default_factory=dict)

    def add(self, segment: Segment) -> None:
        """Take a segment's switches in."""
        if not segment.patches:
            return
        near: dict[SwitchKey, set[SwitchKey]] = {key: set() for key in segment.switches}
        for key, patches in segment.patches.items():
            for patch in patches:
                near[key].add(patch.other)
                near[patch.other].add(key)
        tree = _spanning_tree(near, min(segment.ways or segment.switches))
        for key, neighbours in near.items():
            if ring := neighbours - tree[key]:
                self.rings[key] = frozenset(ring)
        if segment.ways:
            self._prune(tree, segment)

    def _prune(self, tree: dict[SwitchKey, set[SwitchKey]], segment: Segment) -> None:
        leaves = deque(
            sorted(key for key, near in tree.items() if len(near) == 1 and key not in segment.ways)
        )
        while leaves:
            leaf = leaves.popleft()
            (inner,) = tree[leaf]
            self.exits[leaf] = frozenset({inner})
            tree[leaf] = set()
            tree[inner].discard(leaf)
            if len(tree[inner]) == 1 and inner not in segment.ways:
                leaves.append(inner)
        for key, near in tree.items():
            if near:
                self.exits[key] = frozenset(near)


def _spanning_tree(
    near: dict[SwitchKey, set[SwitchKey]], root: SwitchKey
) -> dict[SwitchKey, set[SwitchKey]]:
    tree: dict[SwitchKey, set[SwitchKey]] = {key: set() for key in near}
    waiting, seen = deque([root]), {root}
    while waiting:
        key = waiting.popleft()
        for other in sorted(near[key]):
            if other not in seen:
                seen.add(other)
                waiting.append(other)
                tree[key].add(other)
                tree[other].add(key)
    return tree
