"""What search sees: one visible generation to a document, each user's own."""

from tests.contract.conftest import World

from morag.domain.content import StoredDocument


async def publish(world: World, user_id: str, *document_ids: str, content_hash: str = "hash") -> None:
    for document_id in document_ids:
        lease = await world.running(user_id)
        await world.complete(lease, publication=world.publication(document_id, content_hash=content_hash))


def ids(found: list[StoredDocument]) -> list[str]:
    return [one.publication.document_id for one in found]


async def test_documents_come_by_id_page_by_page(world: World) -> None:
    await publish(world, "ada", "c", "a", "b")
    await publish(world, "eve", "d")
    first = await world.documents.documents("ada", limit=2)
    assert ids(first) == ["a", "b"]
    assert ids(await world.documents.documents("ada", limit=2, after="b")) == ["c"]


async def test_documents_of_others_are_not_there(world: World) -> None:
    await publish(world, "ada", "a")
    assert await world.documents.document("eve", "a") is None
    assert await world.documents.documents("eve", limit=9) == []
    assert await world.documents.visible("eve", ["a"]) == {}
    assert await world.documents.recognise("eve", "hash", "options") is None
    assert await world.documents.remove("eve", "a") is False
    assert await world.documents.document("ada", "a") is not None


async def test_visible_gives_those_that_are_there(world: World) -> None:
    await publish(world, "ada", "a", "b")
    found = await world.documents.visible("ada", ["b", "x", "a"])
    assert {document_id: one.publication.document_id for document_id, one in found.items()} == {"a": "a", "b": "b"}
    assert await world.documents.visible("ada", []) == {}


async def test_same_content_and_options_are_recognised_newest_first(world: World) -> None:
    await publish(world, "ada", "old")
    world.clock.pass_(1.0)
    await publish(world, "ada", "new")
    await publish(world, "ada", "other", content_hash="other")
    assert await world.documents.recognise("ada", "hash", "options") == "new"
    assert await world.documents.recognise("ada", "hash", "other options") is None


async def test_removed_document_is_gone_at_once(world: World) -> None:
    await publish(world, "ada", "a")
    assert await world.documents.remove("ada", "a") is True
    assert await world.documents.remove("ada", "a") is False
    assert await world.documents.document("ada", "a") is None
    assert await world.documents.recognise("ada", "hash", "options") is None


async def test_every_goes_through_the_documents_of_all_users(world: World) -> None:
    await publish(world, "eve", "a")
    await publish(world, "ada", "b", "a")
    found = [(one.user_id, one.publication.document_id) async for one in world.documents.every()]
    assert found == [("ada", "a"), ("ada", "b"), ("eve", "a")]


async def test_publication_reads_back_whole(world: World) -> None:
    lease = await world.running()
    publication = world.publication(metadata={"n": 1.5, "tags": ["ü"]}, original_blob=None)
    await world.complete(lease, publication=publication)
    found = await world.documents.document("ada", "doc")
    assert found is not None
    assert found.publication == publication
