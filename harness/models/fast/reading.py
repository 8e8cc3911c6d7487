"""Texts that begin alike are read as one tree: each beginning once, whoever shares it.

A judge reads each reply after the message and the reference, which all replies to that message share, and
each text alone after the same few words. In order of their tokens, texts that begin alike stand side by side;
what a text has in common with the one before it is not read again. A branch attends to its own path from the
root, in the order in which the text alone would, so that the numbers are those of reading each text whole.
Prompts are read in the same way before they are answered: nothing of it is padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from harness.models.fast.attention import Prefix

TREE_TOKENS = 2048  # after so many a tree ends: more are no faster, and leave the processor's cache
PATH_TOKENS = 8192  # padded keys that are gathered at once
MIN_BRANCHES, MAX_STRETCH = (
    4,
    1.5,
)  # so many are gathered with any others, more only with those of like length
MOST_KEPT = 20_000  # tokens whose keys and values are kept: under 500 MB of the built-in model
ROUNDING = 0.05  # share by which a tree's hidden states may differ from those of a text alone
HEAD_ROWS = 128  # positions whose logits over the vocabulary are held at once

Text = tuple[list[int], int]  # tokens, and where the continuation starts among them


def _before(text: Text) -> tuple[int, ...]:
    """What may be kept of a text: all but the token whose hidden state predicts the continuation."""
    return tuple(text[0][: text[1] - 1])


@dataclass
class Kept:
    """Keys and values of contexts that were met in more than one call: other replies will follow them too."""

    met: set[tuple[int, ...]] = field(default_factory=set)
    places: dict[tuple[int, ...], list[int]] = field(default_factory=dict)
    layers: list[tuple[torch.Tensor, torch.Tensor]] = field(
        default_factory=list
    )  # (1, key heads, places, width)
    tokens: int = 0

    def wanted(self, texts: Sequence[Text]) -> set[tuple[int, ...]]:
        """Contexts to be kept from now on, as long as there is room."""
        contexts = {_before(text) for text in texts} - {()}
        found, room = set(), MOST_KEPT - self.tokens
        for context in sorted(contexts & self.met - self.places.keys()):
            if len(context) <= room:
                found.add(context)
                room -= len(context)
        self.met |= contexts
        return found

    def add(
        self, paths: dict[tuple[int, ...], list[int]], taken: list[tuple[torch.Tensor, torch.Tensor]]
    ) -> None:
        """Take in contexts, whose keys and values lie one after the other in ``taken``."""
        import torch

        for context in paths:
            self.places[context] = list(range(self.tokens, self.tokens + len(context)))
            self.tokens += len(context)
        before = self.layers or [(key[:, :, :0], value[:, :, :0]) for key, value in taken]
        self.layers = [
            (torch.cat([a, key], dim=2), torch.cat([b, value], dim=2))
            for (a, b), (key, value) in zip(before, taken, strict=True)
        ]


@dataclass
class Tree:
    """Nodes in the order of a walk through the tree; the last token of a text is not among them.

    A path may begin with ``kept`` places; the tree's own nodes are numbered after all of those.
    """

    kept: int = 0
    tokens: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    branches: list[tuple[list[int], int]] = field(default_factory=list)  # path to its end, its own nodes
    texts: list[tuple[int, list[int]]] = field(default_factory=list)  # and their paths


def trees(texts: Sequence[Text], kept: Kept) -> Iterator[Tree]:
    """All texts, in trees of about ``TREE_TOKENS``."""
    tree, path, before = Tree(kept.tokens), list[int](), list[int]()
    for k in sorted(range(len(texts)), key=lambda k: texts[k][0]):
        ids, start = texts[k]
        body = ids[:-1]
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, body, strict=False)))
        if tree.texts and 2 * same < len(body) and len(tree.tokens) + len(body) - same > TREE_TOKENS:
            yield tree
            tree, same = Tree(kept.tokens), 0
        if same >= start and path[start - 1] < tree.kept:
            same = start - 1  # of what is kept no more is known than keys and values
        known = kept.places.get(_before(texts[k]), ())
        if same < len(known):
            path, same = list(known), len(known)
        own, first = len(body) - same, tree.kept + len(tree.tokens)
        path = [*path[:same], *range(first, first + own)]
        if own:
            tree.tokens += body[same:]
            tree.depths += range(same, len(body))
            tree.branches.append((path, own))
        tree.texts.append((k, path))
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
    masks: dict[int, torch.Tensor] = field(default_factory=dict)

    def mask_for(self, group: int) -> torch.Tensor:
        """The mask of ``group`` query heads that share a key head, below each other."""
        if group not in self.masks:
            self.masks[group] = self.mask.repeat(1, 1, group, 1)
        return self.masks[group]


def paths_of(tree: Tree, weight: torch.Tensor, shared: int = 0) -> list[Paths]:
    """The tree's branches, the shortest paths first, behind ``shared`` keys that all of them see."""
    import torch

    dtype, device = weight.dtype, weight.device
    found, start = [], 0
    branches = sorted(tree.branches, key=lambda branch: (len(branch[0]), branch[1]))
    for end in range(1, len(branches) + 1):
        if end < len(branches):
            longest, rows = len(branches[end][0]), end + 1 - start
            is_stretched = rows > MIN_BRANCHES and longest > MAX_STRETCH * len(branches[start][0])
            if rows * (shared + longest) <= PATH_TOKENS and not is_stretched:
                continue
        group = branches[start:end]
        start = end
        widths = max(own for _, own in group), len(group[-1][0])
        queries, keys = (torch.zeros(len(group), width, dtype=torch.long) for width in widths)
        own_of = torch.tensor([own for _, own in group])[:, None]
        length = torch.tensor([len(path) for path, _ in group])[:, None]
        for k, (path, own) in enumerate(group):
            queries[k, :own] = torch.tensor(path[-own:]) - tree.kept
            keys[k, : len(path)] = torch.tensor(path)
        # a query sees the keys up to its own place; padding sees the whole path, and is not taken
        place = (length - own_of + torch.arange(widths[0])).minimum(length - 1)
        hidden = torch.arange(widths[1]) > place[:, :, None]
        mask = torch.zeros(hidden.shape, dtype=dtype).masked_fill(hidden, torch.finfo(dtype).min)
        mask = torch.nn.functional.pad(mask, (shared, 0))
        is_own = torch.arange(widths[0]) < own_of
        found.append(Paths(queries.to(device), keys.to(device), mask[:, None].to(device), is_own.to(device)))
    return found


@dataclass
class Reading:
    """What attention is told of a tree, and what it hands back: layer after layer."""

    paths: list[Paths]
    before: Iterator[tuple[torch.Tensor, torch.Tensor]]
    keep: torch.Tensor  # nodes whose keys and values are wanted
    is_fused: bool = False  # rounding may depend on what else is read
    prefixes: Iterator[Prefix] = field(
        default_factory=lambda: iter(())
    )  # what all branches attend to before their own path
    taken: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)

    def with_kept(self, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The next layer's keys and values, after those that are kept of it."""
        import torch

        if (before := next(self.before, None)) is not None:
            key, value = (torch.cat(pair, dim=2) for pair in zip(before, (key, value), strict=True))
        if len(self.keep):
            self.taken.append((key[:, :, self.keep], value[:, :, self.keep]))
        return key, value


@dataclass
class PromptsRead:
    """What is known of prompts once they are read, to answer them."""

    hidden: torch.Tensor  # (prompts, width), of each one's last token
    paths: list[list[int]]  # each one's nodes
    trees: list[list[tuple[torch.Tensor, torch.Tensor]]]  # their keys and values, by layer


def read_prompts(
    decoder: torch.nn.Module, prompts: Sequence[list[int]], prefix: Sequence[Prefix] = ()
) -> PromptsRead:
    """Read prompts as trees.

    Args:
        decoder: as ``read_trees``'.
        prompts: tokens of each, without those of the prefix; at least one.
        prefix: keys and values of each layer that all prompts go on from.
    """
    import torch

    weight = next(decoder.parameters())
    shared = prefix[0][0].shape[1] if prefix else 0
    texts = [([*prompt, 0], len(prompt)) for prompt in prompts]  # a text's last token is not read
    hidden, paths = [torch.empty(0)] * len(texts), [list[int]()] * len(texts)
    found, nodes = [], 0
    for tree in trees(texts, Kept()):
        keep = torch.arange(len(tree.tokens), device=weight.device)
        reading = Reading(paths_of(tree, weight, shared), iter(()), keep, True, iter(prefix))
        read = _hidden(decoder, tree, reading, weight, shared)
        for k, path in tree.texts:
            hidden[k], paths[k] = read[path[-1]], [nodes + node for node in path]
        nodes += len(tree.tokens)
        found.append(reading.taken)
    return PromptsRead(torch.stack(hidden), paths, found)


def follows_trees(decoder: PreTrainedModel) -> bool:
    """Whether it reads a tree as each text alone: checked on two texts of a few tokens.

    An architecture may have layers without attention, or places of its own making that a tree does not tell.
    The tokens are from all over the vocabulary: the first ones are often never trained, and what is made of
    them is mostly rounding.
    """
    import torch

    config = decoder.config.get_text_config()
    tokens = [config.vocab_size * k // 11 for k in range(1, 11)]
    texts = [tokens[:7], [*tokens[:3], *tokens[7:]]]
    try:
        with torch.inference_mode():
            read = read_prompts(decoder, texts)
            ids = [torch.tensor([text], device=read.hidden.device) for text in texts]
            alone = [decoder(input_ids=one, use_cache=False).last_hidden_state[0, -1] for one in ids]
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return False
    known = torch.stack(alone)
    is_same = bool((read.hidden - known).norm() <= ROUNDING * known.norm())
    return len(read.trees[0]) == config.num_hidden_layers and is_same


def _hidden(
    decoder: torch.nn.Module, tree: Tree, reading: Reading, weight: torch.Tensor, shared: int = 0
) -> torch.Tensor:
    """(nodes, width): what the decoder makes of a tree whose paths stand behind ``shared`` tokens."""
    import torch

    # of a shape that cannot be added by mistake to the scores of all nodes
    mask = torch.zeros(1, 1, len(tree.tokens) + 1, 1, dtype=weight.dtype, device=weight.device)
    mask.tree = reading  # type: ignore[attr-defined]
    hidden: torch.Tensor = decoder(
        input_ids=torch.tensor([tree.tokens], device=weight.device),
        attention_mask=mask,
        position_ids=torch.tensor([tree.depths], device=weight.device) + shared,
        use_cache=False,
    ).last_hidden_state[0]
    return hidden


def read_trees(
    decoder: torch.nn.Module, head: torch.nn.Module, texts: Sequence[Text], kept: Kept
) -> list[torch.Tensor]:
    """Natural log-probability of each token of each continuation, in float32.

    Args:
        decoder: attends with ``grouped_eager``, which takes a tree's ``Paths`` from its mask.
        head: gives logits of the decoder's last hidden state, without more.
        texts: in any order, each with at least one token before its continuation.
        kept: of the same model; contexts that are met again are added.
    """
    import torch

    weight = next(head.parameters())
    found = [torch.empty(0)] * len(texts)
    wanted = kept.wanted(texts)
    for tree in trees(texts, kept):
        contexts = {
            context: path[: len(context)]
            for k, path in tree.texts
            if (context := _before(texts[k])) in wanted and context not in kept.places
        }
        keep = torch.tensor([node for path in contexts.values() for node in path], dtype=torch.long)
        reading = Reading(paths_of(tree, weight), iter(kept.layers), keep.to(weight.device))
        hidden = _hidden(decoder, tree, reading, weight)
        if contexts:
            kept.add(contexts, reading.taken)
        # the node before each token of a continuation predicts it
        ends = [[node - tree.kept for node in path[texts[k][1] - 1 :]] for k, path in tree.texts]
        nodes = torch.tensor([node for end in ends for node in end], device=weight.device)
        said = [token for k, _ in tree.texts for token in texts[k][0][texts[k][1] :]]
        targets = torch.tensor(said, device=weight.device)
        distinct, which = nodes.unique(return_inverse=True)
        gained = torch.empty(len(nodes), device=weight.device)
        for first in range(0, len(distinct), HEAD_ROWS):
            here = (which >= first) & (which < first + HEAD_ROWS)
            logits = head(hidden[distinct[first : first + HEAD_ROWS]]).float()
            row = which[here] - first
            gained[here] = logits[row, targets[here]] - logits.logsumexp(dim=-1)[row]
        parts = gained.split(list(map(len, ends)))
        for (k, _), part in zip(tree.texts, parts, strict=True):
            found[k] = part
    return found
