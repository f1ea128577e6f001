import pytest
from pydantic import ValidationError

from morag.api.schemas.submissions import Ingestion
from morag.domain.task import Priority


@pytest.mark.parametrize(
    ("given", "is_remote"),
    [
        ({"use_remote": True}, True),
        ({"remote": "true"}, True),
        ({"remote": False, "use_remote": False}, False),
        ({"remote": "true", "use_remote": "true"}, True),
    ],
)
def test_use_remote_is_another_name_of_remote(given: dict[str, object], *, is_remote: bool) -> None:
    assert Ingestion.model_validate(given).remote is is_remote


def test_the_two_names_of_remote_may_not_contradict_each_other() -> None:
    with pytest.raises(ValidationError, match="say different things"):
        Ingestion.model_validate({"remote": True, "use_remote": False})


@pytest.mark.parametrize("given", ["urgent", "URGENT", "10", 10, 10.0])
def test_a_priority_is_a_word_or_its_number(given: object) -> None:
    assert Ingestion.model_validate({"priority": given}).priority is Priority.URGENT


@pytest.mark.parametrize("given", [True, False, 7, "7", "soon", None, [10]])
def test_anything_else_is_no_priority(given: object) -> None:
    with pytest.raises(ValidationError):
        Ingestion.model_validate({"priority": given})
