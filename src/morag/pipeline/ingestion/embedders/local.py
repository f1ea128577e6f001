"""Embeddings on this machine's CPU: all-MiniLM-L6-v2 with int8 weights on onnxruntime; between chunks and the index."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from morag.pipeline.ingestion.embedders.model_files import AUTO, ModelFiles, locate

MAX_TOKENS = 256
"""What all-MiniLM-L6-v2 was trained to read, [CLS] and [SEP] among them."""
AUTO_DIMENSIONS = 384
_TOKENIZED = 1_000
"""Texts tokenized at once: each holds some 40 bytes to the token until it is counted."""

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float32]


class _Encoding(Protocol):
    @property
    def ids(self) -> list[int]: ...


class _Tokenizer(Protocol):
    def encode_batch_fast(self, texts: list[str]) -> list[_Encoding]: ...


class _Input(Protocol):
    @property
    def name(self) -> str: ...


class _Session(Protocol):
    def get_inputs(self) -> list[_Input]: ...

    def run(self, outputs: None, feeds: dict[str, _Ints]) -> list[_Floats]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    tokenizer: _Tokenizer
    session: _Session
    inputs: frozenset[str]


class LocalEmbedder:
    """Implements `pipeline.ports.Embedder`. The first call loads the model: 0.5 s and about 190 MB.

    `model` is `auto` or a folder that holds model.onnx and tokenizer.json. The same text gives the same vector,
    whatever it is embedded beside.
    """

    def __init__(self, model: str = AUTO, threads: int = 2) -> None:
        self._asked = model
        self._threads = threads
        self._lock = Lock()
        self._loaded: _Loaded | None = None

    @cached_property
    def _files(self) -> ModelFiles:
        return locate(self._asked)

    @property
    def model(self) -> str:
        """Name and version. Raises Unavailable if the model's files are not there."""
        return f"{self._files.name}@{self._files.version}"

    @property
    def dimensions(self) -> int:
        """Length of each vector: 384 for `auto`, else as the model says, which loads it."""
        return AUTO_DIMENSIONS if self._asked == AUTO else self._asked_dimensions

    @cached_property
    def _asked_dimensions(self) -> int:
        return len(self.embed_query("x"))

    @property
    def max_tokens(self) -> int:
        """Longest text it reads whole; of a longer one it reads the beginning."""
        return MAX_TOKENS

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Unit vectors, in order of the texts. Raises Unavailable.

        One text to a run of the model: padded batches of 4, 8 and 16 were 1.2, 1.5 and 2 times slower here, took more
        memory, and a text's vector would depend on its neighbours.
        """
        loaded = self._load()
        return [_run(loaded, _cut(encoding.ids)) for encoding in loaded.tokenizer.encode_batch_fast(list(texts))]

    def embed_query(self, text: str) -> list[float]:
        """The unit vector of a question; this model needs no prefix to it."""
        return self.embed([text])[0]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as the model would read them, without the two that frame it."""
        tokenizer = self._load().tokenizer
        batches = (list(texts[start : start + _TOKENIZED]) for start in range(0, len(texts), _TOKENIZED))
        return [len(encoding.ids) - 2 for batch in batches for encoding in tokenizer.encode_batch_fast(batch)]

    def _load(self) -> _Loaded:
        with self._lock:
            if self._loaded is None:
                self._loaded = _open(self._files, self._threads)
            return self._loaded


def _open(files: ModelFiles, threads: int) -> _Loaded:
    import onnxruntime  # noqa: PLC0415 - 100 ms, 40 MB: not for idle servers # pyright: ignore[reportMissingTypeStubs]
    from tokenizers import Tokenizer  # noqa: PLC0415 - as above

    files.check()
    runtime = cast("Any", onnxruntime)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_cpu_mem_arena = False  # faster here, and an arena keeps what the longest text took
    session: _Session = runtime.InferenceSession(str(files.weights), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(files.tokenizer))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    inputs = frozenset(given.name for given in session.get_inputs())
    return _Loaded(tokenizer=cast("_Tokenizer", tokenizer), session=session, inputs=inputs)


def _cut(ids: list[int]) -> list[int]:
    return ids if len(ids) <= MAX_TOKENS else [*ids[: MAX_TOKENS - 1], ids[-1]]


def _run(loaded: _Loaded, tokens: list[int]) -> list[float]:
    ids = np.array([tokens], np.int64)
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    hidden = loaded.session.run(None, {name: feeds[name] for name in loaded.inputs})[0]
    mean = hidden[0].mean(axis=0)
    return (mean / max(float(np.linalg.norm(mean)), 1e-12)).tolist()
