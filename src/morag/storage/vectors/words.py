"""Text made ready for a tokenizer that parts words at spaces and punctuation."""

import re

_UNSPACED = re.compile(r"[぀-ヿ㐀-鿿豈-﫿]+")


def spaced(text: str) -> str:
    """The text with runs of Chinese and Japanese, which are written without spaces, as overlapping pairs of signs."""
    return _UNSPACED.sub(lambda run: f" {_pairs(run.group())} ", text)


def _pairs(run: str) -> str:
    return " ".join(run[i : i + 2] for i in range(max(len(run) - 1, 1)))
