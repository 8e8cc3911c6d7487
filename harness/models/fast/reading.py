"""Texts that begin alike are read as one tree: each beginning once, whoever shares it.

A judge reads each reply after the message and the reference, which all replies to that message share, and
each text alone after the same few words. In order of their tokens, texts that begin alike stand side by side;
what a text has in common with the one before it is not read again. A branch attends to its own path from the
root, in the order in which the text alone would, so that the numbers are those of reading each text whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

TREE_TOKENS = 2048  # after so many a tree ends: more are no faster, and leave the processor's cache
PATH_TOKENS = 8192  # padded keys that are gathered at once
HEAD_ROWS = 128  # positions whose logits over the vocabulary are held at once

Text = tuple[list[int], int]  # tokens, and where the continuation starts among them


@dataclass
class Tree:
    """Nodes in the order of a walk through the tree; the last token of a text is not among them."""

    tokens: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    branches: list[tuple[list[int], int]] = field(default_factory=list)  # path to its end, its own nodes
    texts: list[tuple[int, list[int]]] = field(default_factory=list)  # and the nodes that predict its tokens


def trees(texts: Sequence[Text]) -> Iterator[Tree]:
    """All texts, in trees of about ``TREE_TOKENS``."""
    tree, path, before = Tree(), list[int](), list[int]()
    for k in sorted(range(len(texts)), key=lambda k: texts[k][0]):
        ids, start = texts[k]
        body = ids[:-1]
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, body, strict=False)))
        if tree.texts and 2 * same < len(body) and len(tree.tokens) + len(body) - same > TREE_TOKENS:
            yield tree
            tree, same = Tree(), 0
        own = len(body) - same
        path = [*path[:same], *range(len(tree.tokens), len(tree.tokens) + own)]
        if own:
            tree.tokens += body[same:]
            tree.depths += range(same, len(body))
            tree.branches.append((path, own))
        tree.texts.append((k, path[start - 1 :]))
        before = body
    if tree.texts:
        yield tree


@dataclass(frozen=True)
class Paths:
    """Branches of like length, for attention: each one's own nodes, and all nodes of its path."""

    queries: torch.Tensor  # (branches, own nodes), padded on the right with node 0
    keys: torch.Tensor  # (branches, nodes of the path), likewise
    mask: torch.Tensor  # additive, (branches, 1, own nodes, nodes of the path)
    is_own: torch.Tensor  # like ``queries``: no padding


def paths_of(tree: Tree, dtype: torch.dtype, device: torch.device) -> list[Paths]:
    """The tree's branches, the shortest paths first."""
    import torch

    found, start = [], 0
    branches = sorted(tree.branches, key=lambda branch: (len(branch[0]), branch[1]))
    for end in range(1, len(branches) + 1):
        longer = end < len(branches) and (end + 1 - start) * len(branches[end][0]) > PATH_TOKENS
        if end < len(branches) and not longer:
            continue
        group = branches[start:end]
        start = end
        widths = max(own for _, own in group), len(group[-1][0])
        queries, keys = (torch.zeros(len(group), width, dtype=torch.long) for width in widths)
        own_of = torch.tensor([own for _, own in group])[:, None]
        length = torch.tensor([len(path) for path, _ in group])[:, None]
        for k, (path, own) in enumerate(group):
            queries[k, :own] = torch.tensor(path[-own:])
            keys[k, : len(path)] = torch.tensor(path)
        # a query sees the keys up to its own place; padding sees the whole path, and is not taken
        place = (length - own_of + torch.arange(widths[0])).minimum(length - 1)
        hidden = torch.arange(widths[1]) > place[:, :, None]
        mask = torch.zeros(hidden.shape, dtype=dtype).masked_fill(hidden, torch.finfo(dtype).min)
        is_own = torch.arange(widths[0]) < own_of
        found.append(Paths(*(part.to(device) for part in (queries, keys, mask[:, None], is_own))))
    return found


def read_trees(decoder: torch.nn.Module, head: torch.nn.Module, texts: Sequence[Text]) -> list[torch.Tensor]:
    """Natural log-probability of each token of each continuation, in float32.

    Args:
        decoder: attends with ``grouped_eager``, which takes a tree's ``Paths`` from its mask.
        head: gives logits of the decoder's last hidden state, without more.
        texts: in any order, each with at least one token before its continuation.
    """
    import torch

    weight = next(head.parameters())
    found = [torch.empty(0)] * len(texts)
    for tree in trees(texts):
        # of a shape that cannot be added by mistake to the scores of all nodes
        mask = torch.zeros(1, 1, len(tree.tokens) + 1, 1, dtype=weight.dtype, device=weight.device)
        mask.paths = paths_of(tree, weight.dtype, weight.device)  # type: ignore[attr-defined]
        hidden = decoder(
            input_ids=torch.tensor([tree.tokens], device=weight.device),
            attention_mask=mask,
            position_ids=torch.tensor([tree.depths], device=weight.device),
            use_cache=False,
        ).last_hidden_state[0]
        nodes = torch.tensor([node for _, nodes in tree.texts for node in nodes], device=weight.device)
        said = [token for k, _ in tree.texts for token in texts[k][0][texts[k][1] :]]
        targets = torch.tensor(said, device=weight.device)
        distinct, which = nodes.unique(return_inverse=True)
        gained = torch.empty(len(nodes), device=weight.device)
        for first in range(0, len(distinct), HEAD_ROWS):
            here = (which >= first) & (which < first + HEAD_ROWS)
            logits = head(hidden[distinct[first : first + HEAD_ROWS]]).float()
            row = which[here] - first
            gained[here] = logits[row, targets[here]] - logits.logsumexp(dim=-1)[row]
        parts = gained.split([len(nodes) for _, nodes in tree.texts])
        for (k, _), part in zip(tree.texts, parts, strict=True):
            found[k] = part
    return found
