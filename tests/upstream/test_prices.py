"""The cost of answers: by the operator's file, or else by the list that ships."""

from pathlib import Path

import pytest

from app.core.errors import ConfigurationError
from app.core.models import Usage
from app.upstream.prices import ListPrices, Rates, read_prices

OPENAI = "https://api.openai.com/v1"
ANYWHERE = "http://127.0.0.1:4000/v1"
MILLION = Usage(1_000_000, 1_000_000)

FILE = """
[models."house-*"]
input = 1
output = 3.5

[models."house-large"]
input = 2
output = 4
cached = 0.5
written = 2.5
"""


def test_the_operators_file_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(FILE + '[models."gpt-4o"]\ninput = 0\n')
    prices = ListPrices(OPENAI, read_prices(str(path)))
    assert prices.nanodollars("house-small", MILLION) == 4_500_000_000
    assert prices.nanodollars("house-large", MILLION) == 6_000_000_000
    # 700 fresh at $2, 200 cached at $0.5, 100 written at $2.5, 10 out at $4, a million each.
    assert prices.nanodollars("house-large", Usage(1000, 10, 200, 100)) == 1_790_000
    assert prices.nanodollars("gpt-4o", MILLION) == 0
    assert prices.nanodollars("house", MILLION) is None


@pytest.mark.parametrize(
    ("url", "model", "dollars"),
    [
        (OPENAI, "gpt-4o", 12.5),
        (ANYWHERE, "gpt-4o", 12.5),
        (ANYWHERE, "openai/gpt-4o", 12.5),
        (OPENAI, "text-embedding-3-small", None),
        (OPENAI, "no-such-model", None),
        (ANYWHERE, "no-such/model", None),
        (ANYWHERE, "", None),
    ],
)
def test_a_model_is_priced_by_the_list_wherever_it_is_served(
    url: str, model: str, dollars: float | None
) -> None:
    prices = ListPrices(url, {})
    for _ in range(2):
        price = prices.nanodollars(model, Usage(1_000_000, 1_000_000))
        if model.startswith("text"):
            price = prices.nanodollars(model, Usage(1_000_000))
            assert price == 20_000_000
        else:
            assert price == (None if dollars is None else dollars * 1e9)


def test_what_a_prompt_cache_gave_costs_less() -> None:
    prices = ListPrices(OPENAI, {})
    fresh, cached = (prices.nanodollars("gpt-4o", Usage(1000, 0, n)) or 0 for n in (0, 1000))
    assert 0 < cached < fresh


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("models = 3", "must have tables"),
        ("[model.a]\ninput = 1", "must have tables"),
        ("[models.a]\noutput = 1", "a must have input"),
        ("[models.a]\ninput = -1", "a must have input"),
        ("[models.a]\ninput = true", "a must have input"),
        ("[models.a]\ninput = nan", "a must have input"),
        ("[models.a]\ninput = 1\nprompt = 2", "a must have input"),
        ("[models", "is not valid TOML"),
    ],
)
def test_a_file_with_a_mistake_is_refused_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=told) as refused:
        read_prices(str(path))
    assert str(refused.value).startswith(f"REPRISE_PRICES={path}")


def test_a_file_that_is_not_there_is_refused_and_none_is_no_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_prices(str(tmp_path / "prices.toml"))
    assert read_prices("") == {}


def test_rates_that_are_not_told_are_those_of_input() -> None:
    assert Rates(2).nanodollars(Usage(10, 5, 3, 4)) == 20_000
