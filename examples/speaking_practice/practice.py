"""Scoring, apart from everything else: a sentence and what was heard go in, the words that were said come out."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

STARS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word of the sentence, as it is printed, and whether it was said."""

    text: str
    is_said: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How much of a sentence was said."""

    words: tuple[Word, ...]
    extra: int
    """Words that were heard and do not belong to it."""

    @property
    def percent(self) -> int:
        """Of the words of the sentence, those said in their order."""
        return round(100 * sum(word.is_said for word in self.words) / max(len(self.words), 1))


def score(sentence: str, heard: str) -> Score:
    """Which words of the sentence were said, in its order. Case and punctuation do not count, repeats are extra."""
    wanted = _words(sentence)
    said = [_plain(word) for word in _words(heard)]
    kept = _kept([_plain(word) for word in wanted], said)
    words = tuple(Word(text=word, is_said=is_said) for word, is_said in zip(wanted, kept, strict=True))
    return Score(words=words, extra=len(said) - sum(kept))


def stars(percents: Sequence[float]) -> float | None:
    """The rating that scores give together, 0 to STARS with one decimal; None without any."""
    if not percents:
        return None
    return round(STARS * sum(percents) / len(percents) / 100, 1)


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s\u2013\u2014-]+", text) if _plain(word)]


def _plain(word: str) -> str:
    return "".join(letter for letter in word.casefold() if letter.isalnum())


def _kept(wanted: Sequence[str], said: Sequence[str]) -> list[bool]:
    """For each wanted word whether it is in a longest common subsequence with what was said.

    `difflib` finds long runs first, and so may miss words that a repeated start of the sentence would have given.
    """
    most = [[0] * (len(said) + 1) for _ in range(len(wanted) + 1)]
    for i in reversed(range(len(wanted))):
        for j in reversed(range(len(said))):
            is_same = wanted[i] == said[j]
            most[i][j] = most[i + 1][j + 1] + 1 if is_same else max(most[i + 1][j], most[i][j + 1])
    kept, j = list[bool](), 0
    for i in range(len(wanted)):
        while j < len(said) and most[i][j] == most[i][j + 1]:
            j += 1  # this word of what was said is not needed
        is_kept = j < len(said) and wanted[i] == said[j]
        kept.append(is_kept)
        j += is_kept
    return kept
