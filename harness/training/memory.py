"""Peak memory of a training on a GPU, predicted from the base's configuration alone. Needs no torch.

Counted is what PyTorch allocates (``torch.cuda.max_memory_allocated``). A CUDA context comes on top of it:
half a gigabyte that ``nvidia-smi`` shows and PyTorch does not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.records import Json

# nf4 with double quantisation: 4 bits a weight, a byte a block of 64, four bytes for 256 blocks (QLoRA, §3)
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
ADAM_BYTES = 8  # two float32 moments a trained weight
LOGIT_BYTES = 14  # as computed, in float32, its log-probability and the gradients of these
CONTEXT_BYTES = 5e8  # of CUDA itself
FEWEST_TOKENS = 1_024  # that go through a model at once
LARGEST_SIZE = 10**8  # of any that a configuration names
FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")
EXPERT_COUNTS = ("num_local_experts", "num_experts")  # what configurations call it


@dataclass(frozen=True, slots=True)
class BaseShape:
    """A decoder of Llama's shape: grouped attention and a gated feed-forward network, or experts."""

    layers: int
    hidden: int
    feed_forward: int
    query_width: int  # query heads times the width of one
    key_width: int  # key heads times that width
    vocabulary: int
    tied: bool  # whether the output head is the embedding
    experts: int = 1  # feed-forward networks of a block
    experts_used: int = 1  # of them, those that a token goes through

    @classmethod
    def of(cls, config: Mapping[str, Json]) -> BaseShape:
        """From what a base's ``config.json`` holds.

        Raises:
            KeyError: it names its sizes in another way than Llama does.
            TypeError: one of them is no number: they differ from block to block.
        """

        def size(*names: str) -> int:
            name = next((one for one in names if config.get(one) is not None), names[-1])
            found = config[name]
            if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= LARGEST_SIZE:
                raise TypeError(f"{name}={found!r}")
            return found

        heads = size("num_attention_heads")
        width = size("head_dim") if config.get("head_dim") else size("hidden_size") // heads
        key_heads = size("num_key_value_heads") if config.get("num_key_value_heads") else heads
        counts = [name for name in EXPERT_COUNTS if config.get(name)]
        return cls(
            layers=size("num_hidden_layers"),
            hidden=size("hidden_size"),
            feed_forward=size(*(["moe_intermediate_size"] if counts else []), "intermediate_size"),
            query_width=heads * width,
            key_width=key_heads * width,
            vocabulary=size("vocab_size"),
            # transformers leaves a family's own default out of the file
            tied=bool(config.get("tie_word_embeddings", str(config.get("model_type")).startswith("gemma"))),
            experts=size(counts[0]) if counts else 1,
            experts_used=size("num_experts_per_tok") if counts else 1,
        )

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of a block's linear layers."""
        return {
            "q_proj": (self.hidden, self.query_width),
            "k_proj": (self.hidden, self.key_width),
            "v_proj": (self.hidden, self.key_width),
            "o_proj": (self.query_width, self.hidden),
            "gate_proj": (self.hidden, self.feed_forward),
            "up_proj": (self.hidden, self.feed_forward),
            "down_proj": (self.feed_forward, self.hidden),
        }

    @property
    def linear_weights(self) -> int:
        """Weights of all blocks' linear layers: those that nf4 packs."""
        return self.layers * sum(
            inputs * outputs * self._copies(name) for name, (inputs, outputs) in self.linears.items()
        )

    @property
    def other_weights(self) -> int:
        """Weights of embeddings, output head, norms and routers."""
        routers = self.layers * self.experts if self.experts > 1 else 0
        return self.hidden * (self.vocabulary * (1 if self.tied else 2) + 2 * self.layers + 1 + routers)

    def _copies(self, name: str) -> int:
        return self.experts if name in FEED_FORWARD else 1

    def adapter_weights(self, r: int, targets: Sequence[str], layers: int | None = None) -> int:
        """Weights of adapters of rank ``r``, on so many blocks (None: all)."""
        sizes = (sum(self.linears[target]) * self._copies(target) for target in targets)
        return (self.layers if layers is None else layers) * r * sum(sizes)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes at the peak of a training step, by what takes them."""

    weights: float
    optimiser: float  # gradients and moments of what is trained
    activations: float  # what the backward pass needs of the blocks
    logits: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.optimiser + self.activations + self.logits


def predict_memory(
    shape: BaseShape,
    *,
    tokens: int,
    labelled: int,
    adapter_weights: int | None,
    nf4: bool = False,
    checkpointing: bool = False,
    base_bytes: int = 2,
    trained_bytes: int = 4,
    adapted_layers: int | None = None,
) -> Memory:
    """What a training step needs at most.

    Args:
        shape: of the base.
        tokens: that go through the model at once: rows times context length, padding included.
        labelled: how many positions' logits are computed; all of them in most trainers.
        adapter_weights: how many weights the adapters have; None: all weights of the base are trained.
        nf4: whether the base's linear layers are packed.
        checkpointing: whether blocks are computed again in the backward pass.
        base_bytes: of a frozen weight that is not packed, and of an activation.
        trained_bytes: of a trained weight and of its gradient. At 4, autocast holds a copy of two bytes.
        adapted_layers: how many of the upper blocks are trained (None: all); the others keep nothing.
    """
    everything = shape.linear_weights + shape.other_weights
    trained = everything if adapter_weights is None else adapter_weights
    copies = 2 if trained_bytes == 4 else 0
    frozen = 0.0
    if adapter_weights is not None:
        frozen = shape.linear_weights * (NF4_BYTES if nf4 else base_bytes) + shape.other_weights * base_bytes
    if nf4:  # the largest layer is unpacked for its product
        frozen += base_bytes * max(inputs * outputs for inputs, outputs in shape.linears.values())
    block = _block_bytes(shape, base_bytes, is_full=adapter_weights is None)
    layers = shape.layers if adapted_layers is None else adapted_layers
    stream = shape.hidden * (4 if adapter_weights is None and trained_bytes == 4 else base_bytes)
    kept = layers * stream + block if checkpointing else layers * block
    return Memory(
        weights=frozen + trained * (trained_bytes + copies),
        optimiser=trained * (trained_bytes + (ADAM_BYTES if trained_bytes == 4 else 2 * trained_bytes)),
        activations=float(tokens * kept),
        logits=float(labelled * shape.vocabulary * LOGIT_BYTES),
    )


def tokens_that_fit(config: Mapping[str, Json], room: float, *, is_full: bool) -> int | None:
    """How many tokens, all of them labelled, a step can take at once in so many free bytes.

    At least ``FEWEST_TOKENS``. None where the configuration names its sizes in another way than Llama does.
    """
    try:
        shape = BaseShape.of(config)
    except (KeyError, TypeError):
        return None
    one = predict_memory(shape, tokens=1, labelled=1, adapter_weights=None if is_full else 0)
    return max(FEWEST_TOKENS, int(room / (one.activations + one.logits)))


def _block_bytes(shape: BaseShape, width: int, *, is_full: bool) -> int:
    """Bytes that a block keeps of a token for its backward pass.

    Both norms keep their input in float32, the linear layers theirs, attention its queries, keys, values
    (once a query head) and result, and the gated network four vectors. Where all weights are trained, norms
    keep their result as well, and the layers that share an input a copy each.
    """
    norms = 2 * shape.hidden * (8 if is_full else 4)
    inputs = shape.hidden * width * (5 if is_full else 2)
    attention = shape.query_width * width * 4
    return norms + inputs + attention + shape.feed_forward * width * 4 * shape.experts_used
