"""Whether two models are of one family, by their names: a judge prefers what its own family writes.

Self-preference was measured of graders (A. Panickssery, S. R. Bowman and S. Feng 2024) and of likelihoods
(Y. Liu, N. S. Moosavi and C. Lin 2024). Names are all that is known of most models, so the rule is one of
words: two names are of one family where they share a word of three letters or more that names no size, stage
or format. ``Qwen/Qwen2.5-7B-Instruct`` and ``deepseek-r1-distill-qwen-7b`` do; so do ``gpt-4o-mini`` and
``ft:gpt-4.1:org::id``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_PLAIN = re.compile(
    # sizes and speeds
    r"nano|tiny|mini|small|medium|large|big|max|pro|plus|ultra|turbo|flash|lite|fast|high|low"
    # stages, uses and versions
    r"|base|chat|instruct|instruction|preview|latest|exp|experimental|beta|fine|tuned|finetuned?|models?"
    r"|q?lora|adapter|merged|distill|distilled|sft|dpo|rlhf|thinking|reasoning|coder?|math|vision|audio"
    r"|multilingual|english|all|the|for|and|new|our"
    # formats
    r"|gguf|ggml|gptq|awq|bnb|bit|int|mlx|onnx|safetensors|quantized"
)
_WORD = re.compile(r"[a-z]{3,}")


def same_family(first: str, second: str) -> bool:
    """Whether the names share a word that names a family. A name without one is of no family but its own."""
    return bool(_words(first) & _words(second)) or (first != "" and first == second)


def _words(name: str) -> frozenset[str]:
    """A service's path and a fine-tune's ``ft:...:org::id`` are left out: they name an owner."""
    name = name.lower().replace("\\", "/").rstrip("/")
    if name.startswith("ft:"):
        name = name.split(":")[1]
    words = _WORD.findall(name.rpartition("/")[2])
    return frozenset(word for word in words if not _PLAIN.fullmatch(word))


def models_of(judge: object) -> Iterator[str]:
    """Names of the models that judge, as far as a judge tells: ``model``, and those of its ``judges``."""
    model = getattr(judge, "model", None)
    name = getattr(model, "model", model)
    if isinstance(name, str):
        yield name
    others = getattr(judge, "judges", ())
    for other in others if isinstance(others, tuple | list) else ():
        yield from models_of(other)
