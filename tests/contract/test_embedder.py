"""What every `pipeline.ports.Embedder` must do, over each adapter."""

import math
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from morag.domain.errors import Unavailable
from morag.pipeline.ingestion.embedders import model_files
from morag.pipeline.ingestion.embedders.local import LocalEmbedder
from morag.pipeline.ports import Embedder

PASSAGES = [
    "The invoice must be paid within thirty days.",
    "Photosynthesis turns sunlight into sugar in the leaves of plants.",
    "A lease is renewed four times in its length, else another worker takes the task.",
    "Goals were scored in both halves of the football match.",
]
QUESTIONS = [
    "When is the payment due?",
    "How do plants make energy from the sun?",
    "How often is the lease of a task renewed?",
    "Who won the soccer game?",
]


@pytest.fixture(scope="module", params=[LocalEmbedder])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    make: Callable[[], Embedder] = request.param
    return make()


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_vectors_are_of_the_length_it_names_and_of_length_one(embedder: Embedder) -> None:
    for vector in (*embedder.embed(PASSAGES), embedder.embed_query("?")):
        assert len(vector) == embedder.dimensions
        assert math.sqrt(cosine(vector, vector)) == pytest.approx(1.0, abs=1e-5)


def test_each_question_is_nearest_to_the_passage_that_answers_it(embedder: Embedder) -> None:
    passages = embedder.embed(PASSAGES)
    for n, question in enumerate(QUESTIONS):
        asked = embedder.embed_query(question)
        assert max(range(len(passages)), key=lambda i: cosine(asked, passages[i])) == n


def test_a_text_has_the_same_vector_in_any_company_and_order(embedder: Embedder) -> None:
    texts = [*PASSAGES, "x", " ".join(PASSAGES * 3)]
    together = embedder.embed(texts)
    assert embedder.embed(list(reversed(texts))) == list(reversed(together))
    assert [embedder.embed([text])[0] for text in texts] == together


def test_text_beyond_what_it_reads_is_left_out(embedder: Embedder) -> None:
    long = "word " * (2 * embedder.max_tokens)
    assert embedder.embed([long]) == embedder.embed([long + "and more"])


def test_odd_texts_have_vectors(embedder: Embedder) -> None:
    assert embedder.embed([]) == []
    assert len(embedder.embed(["", " ", "\x00", "北京 🙂"])) == 4


def test_threads_get_the_same_vectors(embedder: Embedder) -> None:
    alone = embedder.embed(PASSAGES)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(embedder.embed_query, PASSAGES * 4)) == alone * 4


def test_the_model_is_named_with_its_version(embedder: Embedder) -> None:
    name, _, version = embedder.model.partition("@")
    assert name
    assert version


def test_tokens_are_counted_as_the_model_reads_them() -> None:
    local = LocalEmbedder()
    assert local.count_tokens(["", "hello world", "unbelievablyness", "1.5"]) == [0, 2, 6, 3]
    exact = "a " * (local.max_tokens - 2)
    assert local.embed([exact]) == local.embed([exact + "b"])
    assert local.embed([exact[:-2]]) != local.embed([exact])


def test_a_folder_with_model_and_tokenizer_may_be_named(tmp_path: Path) -> None:
    files = model_files.locate("auto")
    folder = tmp_path / "own-model"
    folder.mkdir()
    shutil.copy(files.weights, folder / "model.onnx")
    shutil.copy(files.tokenizer, folder / "tokenizer.json")
    own = LocalEmbedder(str(folder))
    assert own.model == f"own-model@{files.version}"
    assert own.dimensions == 384
    assert own.embed(PASSAGES[:1]) == LocalEmbedder().embed(PASSAGES[:1])


def test_a_model_that_is_not_there_is_named_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"model\.onnx and no tokenizer\.json") as missing:
        LocalEmbedder(str(tmp_path)).embed(["x"])
    assert "MORAG_EMBEDDING_MODEL" in (missing.value.hint or "")


def test_weights_that_are_not_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    files = model_files.locate("auto")
    (tmp_path / "model.onnx").write_bytes(b"other")
    changed = model_files.ModelFiles(
        name="x", weights=tmp_path / "model.onnx", tokenizer=files.tokenizer, weights_sha256=files.weights_sha256
    )
    with pytest.raises(Unavailable, match="pinned"):
        changed.check()
