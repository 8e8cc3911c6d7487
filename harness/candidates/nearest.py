"""What is nearest to a question: by BM25 over words, or by sentence embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

from harness.data.plain_text import plain_words
from harness.scoring.judges import Embedder

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    Scores: TypeAlias = npt.NDArray[np.float32]

By: TypeAlias = Literal["bm25", "embeddings"]
DIGITS = 5  # scores that agree so far are ties: vectors differ by some 1e-7 with what they are read beside


class Index:
    """Texts that can be looked up. What is equally near comes in the order of the texts.

    BM25 (Robertson and Zaragoza 2009) as Lucene computes it, k1 = 1.5 and b = 0.75, over the words that the
    leak check compares: without case, accents and punctuation, and one word a character in Chinese and
    Japanese. No stemming and no stop words, which depend on the language. ``embedder`` is called once
    vectors are compared.
    """

    def __init__(self, texts: Sequence[str], by: By, embedder: Callable[[], Embedder]) -> None:
        self._texts, self._by, self._embedder = texts, by, embedder
        self._asked: dict[str, Scores] = {}

    def near(self, question: str, is_shown: Callable[[int], bool], k: int) -> list[tuple[int, float]]:
        """The places of the ``k`` nearest texts with their scores, nearest first; those not shown are
        passed over.
        """
        found: list[tuple[int, float]] = []
        for place, score in self._ranked(question):
            if len(found) == k:
                break
            if is_shown(place):
                found.append((place, score))
        return found

    def _ranked(self, question: str) -> Iterator[tuple[int, float]]:
        import numpy as np

        scores = np.round(self._scores(question), DIGITS)
        for place in np.argsort(-scores, kind="stable"):
            yield int(place), round(float(scores[place]), DIGITS)

    def _scores(self, question: str) -> Scores:
        import numpy as np

        if self._by == "embeddings":
            encoder, vectors = self._vectors
            if question not in self._asked:  # a row is asked for its prompt several times
                self._asked[question] = encoder.embed([question])[0]
            cosines: Scores = vectors @ self._asked[question]
            return cosines
        nothing: Scores = np.zeros(len(self._texts), np.float32)
        if self._words is None:
            return nothing
        score, known = self._words
        words = [word for word in plain_words(question) if word in known]
        return score(words) if words else nothing

    @cached_property
    def _words(self) -> tuple[Callable[[list[str]], Scores], Mapping[str, int]] | None:
        import bm25s

        split = [list(plain_words(text)) for text in self._texts]
        if not any(split):
            return None
        model = bm25s.BM25(k1=1.5, b=0.75, method="lucene")
        model.index(split, show_progress=False)
        return model.get_scores, model.vocab_dict

    @cached_property
    def _vectors(self) -> tuple[Embedder, Scores]:
        encoder = self._embedder()
        return encoder, encoder.embed(self._texts)
