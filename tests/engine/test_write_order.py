from app.engine.write_order import WriteOrder


def test_an_older_answer_does_not_take_the_place_of_a_newer_one() -> None:
    turns = WriteOrder()
    with turns.take(["a", "b"]) as older:
        with turns.take(["a"]) as newer:
            assert newer.claim("a")
        assert not older.claim("a")
        assert older.claim("b")


def test_answers_in_the_order_of_their_questions_are_all_kept() -> None:
    turns = WriteOrder()
    with turns.take(["a"]) as older, turns.take(["a"]) as newer:
        assert older.claim("a")
        assert newer.claim("a")


def test_a_newer_question_without_an_answer_hides_none() -> None:
    turns = WriteOrder()
    with turns.take(["a"]) as older:
        with turns.take(["a"]):
            pass
        assert older.claim("a")


def test_what_was_kept_meanwhile_is_known_to_the_others() -> None:
    turns = WriteOrder()
    with turns.take(["a", "b"]) as older, turns.take(["a"]) as newer:
        assert older.latest_kept("a") == 0
        newer.claim("a")
        assert (older.latest_kept("a"), older.latest_kept("b")) == (newer.number, 0)


def test_nothing_is_remembered_of_those_that_are_over() -> None:
    turns = WriteOrder()
    with turns.take(["a", "a"]) as turn:
        turn.claim("a")
    assert not turns._writes
