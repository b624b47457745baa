from app.matching.guards.evidence import Term


def test_synonyms_share_a_name() -> None:
    film, movie = Term("film", ("film",)), Term("movie", ("movie", "film"))
    assert film.is_like(movie)
    assert movie.is_like(film)
    assert not film.is_like(Term("song", ("song",)))


def test_a_term_stands_in_a_text_under_any_name() -> None:
    movie = Term("movie", ("movie", "film"))
    assert movie.is_in(frozenset({"the", "film"}))
    assert not movie.is_in(frozenset({"the", "song"}))
