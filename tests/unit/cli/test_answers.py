import httpx2
import pytest

from morag.cli.answers import Busy, ServerError, problem, read, unreachable


def test_a_problem_answer_becomes_an_error_with_its_code_and_hint() -> None:
    body = {"status": 409, "detail": "The id is taken.", "code": "document_exists", "hint": "Replace it."}
    with pytest.raises(ServerError) as raised:
        read(httpx2.Response(409, json=body))
    assert (raised.value.status, raised.value.code) == (409, "document_exists")
    assert (raised.value.message, raised.value.hint) == ("The id is taken.", "Replace it.")


def test_fields_at_fault_are_told_unless_the_detail_names_them() -> None:
    errors = [{"field": "limit", "message": "too large"}]
    assert problem(httpx2.Response(422, json={"detail": "Malformed.", "errors": errors})).message == (
        "Malformed. limit: too large"
    )
    told = problem(httpx2.Response(422, json={"detail": "limit: too large", "errors": errors}))
    assert told.message == "limit: too large"


def test_an_answer_of_something_else_is_told_by_its_status() -> None:
    error = problem(httpx2.Response(502, text="<html>Bad gateway</html>"))
    assert error.code == "http_502"
    assert "502" in error.message


def test_success_that_is_no_object_is_an_error() -> None:
    with pytest.raises(ServerError) as raised:
        read(httpx2.Response(200, text="hello"))
    assert raised.value.code == "bad_answer"


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_says_when_to_come_back(status: int) -> None:
    error = problem(httpx2.Response(status, json={"code": "busy"}, headers={"Retry-After": "7"}))
    assert isinstance(error, Busy)
    assert error.retry_after_s == 7


def test_without_a_time_to_come_back_nobody_waits() -> None:
    assert not isinstance(problem(httpx2.Response(503, json={"code": "unavailable"})), Busy)


def test_a_server_that_is_not_there_is_told_with_how_to_start_one() -> None:
    error = unreachable("http://127.0.0.1:8000", httpx2.ConnectError("refused"))
    assert error.code == "server_unreachable"
    assert "morag serve" in str(error.hint)


@pytest.mark.parametrize("status", [401, 403])
def test_an_answer_about_keys_says_where_the_key_is_read_from(status: int) -> None:
    error = problem(httpx2.Response(status, json={"detail": "No.", "code": "no"}))
    assert "MORAG_API_KEY" in str(error.hint)
    assert "morag keys create" in str(error.hint)
