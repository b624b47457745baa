import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dialects.chat_completions.request import ChatRequest
from app.rules.time_bound import TimeBound, judge, year_of

YEAR = 2026

DAY = [
    "What is the weather in Paris today?",
    "what's today's date",
    "What day is it?",
    "What is open tonight?",
    "Will it rain tomorrow in Oslo?",
    "Who won the game yesterday?",
    "Who played last night?",
    "What happened this week in the stock market?",
    "What are the best movies this year?",
    "Which films come out next month?",
    "What did the Fed announce two days ago?",
    "Is the museum open this Sunday?",
    "WHAT IS THE WEATHER TODAY",
    "What Is The Weather In Paris Today",
    "Is it open TODAY or not?",
    "How many days from now is Christmas, counting today?",
    "Wie wird das Wetter heute in Berlin?",
    "Wer hat gestern gewonnen?",
    "Regnet es morgen in Hamburg?",
    "Was läuft heute Abend im Kino?",
    "Was ist diese Woche in München los?",
    "Was geschah vor drei Tagen?",
    "Welche Ausstellungen gibt es nächsten Monat?",
    "Quel temps fera-t-il aujourd'hui ?",
    "Que faire ce soir à Lyon ?",
    "Que s\u2019est-il passé hier au parlement ?",
    "Pleuvra-t-il demain ?",
    "Qu'est-ce qui sort la semaine prochaine au cinéma ?",
    "Qui a gagné il y a deux jours ?",
    "¿Qué tiempo hace hoy en Madrid?",
    "¿Quién ganó ayer?",
    "¿Lloverá mañana?",
    "que paso ayer en el congreso",
    "¿Qué hay esta noche en la tele?",
    "¿Qué pasó hace dos días en Lima?",
    "¿Qué conciertos hay la semana que viene?",
]

MOMENT = [
    "What is the weather in Paris now?",
    "What's happening in Ukraine right now",
    "Who is now the president of France?",
    "What is the latest version of Python?",
    "Who is the current president of Brazil?",
    "current price of gold",
    "What are the latest news about AI?",
    "What are recent developments in fusion energy?",
    "Who is currently the richest person?",
    "What time is it in Tokyo?",
    "What's the exchange rate between the dollar and the euro?",
    "What is the newest iPhone?",
    "Has GTA VI been released yet?",
    "Is Jimmy Carter still alive?",
    "What is the most up-to-date guidance on statins?",
    "What are the upcoming elections?",
    "Which teams have won so far?",
    "Tell me the weather forecast for Rome",
    "Who will win the World Cup in 2030?",
    "Which films come out in 2026?",
    "What will the population of India be by 2050?",
    "Where are the Olympics 2028?",
    "What changes in the budget for 2027?",
    "Wie ist das Wetter in Berlin jetzt?",
    "Wer ist derzeit Bundeskanzler?",
    "Was ist die neueste Version von Python?",
    "Wie hoch ist der aktuelle Leitzins?",
    "Wie spät ist es?",
    "Wo findet die WM 2030 statt?",
    "Was ändert sich im Jahr 2027 bei der Rente?",
    "Qui est actuellement le président du Brésil ?",
    "Quelle est la dernière version de Python ?",
    "Quel est le prix de l'or maintenant ?",
    "Quelle heure est-il à Tokyo ?",
    "Qui est le premier ministre actuel ?",
    "Où auront lieu les Jeux olympiques en 2032 ?",
    "¿Quién es el presidente actual de México?",
    "¿Cuál es la última versión de Python?",
    "¿Cuánto vale el oro ahora?",
    "¿Qué hora es en Tokio?",
    "¿Dónde será el Mundial de 2030?",
]

NONE = [
    "What is now known as Istanbul?",
    "Which city is now called Mumbai?",
    "How do I use the NOW() function in SQL?",
    "Now explain it in simple terms.",
    "Now, write a poem about the sea.",
    "Now that I have a token, how do I refresh it?",
    "Who directed Apocalypse Now?",
    "Who wrote the song Yesterday by the Beatles?",
    "When was the newspaper USA Today founded?",
    'What does the word "today" mean?',
    "Translate 'See you tomorrow' into French",
    "What does `git log --since=yesterday` do?",
    "What does\n```\nprint('today')\n```\nprint?",
    "How does an electric current flow through a wire?",
    "What is alternating current?",
    "What is the difference between voltage and current?",
    "What is current density?",
    "How do I print the current directory in bash?",
    "How do I delete the current branch in git?",
    "Should I open a current account?",
    "What is a least recently used cache?",
    "Who is the most recent common ancestor of humans and chimps?",
    "By when must the form arrive at the latest?",
    "How do I pull the latest tag with docker?",
    "What is Valkey?",
    "Who won the 2018 World Cup?",
    "What happened in 1999?",
    "Who was president in 2025?",
    "What is 2048 in binary?",
    "How long does RSA with 2048 bits last?",
    "Is a key of 2048 bits enough?",
    "What is port 2049 used for?",
    "How many calories are in 2030 grams of rice?",
    "Why is the sky blue?",
    "What is the actual size of a credit card?",
    "How do I set the time on a Casio F-91W?",
    "What is the exchange rate mechanism?",
    "Why does the weather change?",
    "How do I add a week to a date in Python?",
    "Guten Morgen, was ist ein Cache?",
    "Was tun gegen Kopfschmerzen am Morgen?",
    "Wie lösche ich die aktuelle Zeile in vim?",
    "Was bedeutet das Wort \u201eheute\u201c?",
    "Jetzt erkläre es einfacher.",
    "Wer gewann die WM 2014?",
    "Was ist hier der Unterschied zwischen einer Liste und einem Tupel?",
    "Quel est le répertoire actuel en bash ?",
    "Qui est le dernier roi de France ?",
    "Maintenant, explique plus simplement.",
    "Qui a gagné la coupe du monde en 1998 ?",
    "¿Qué se desayuna por la mañana en España?",
    "¿Cómo borro la línea actual en vim?",
    "¿Quién ganó el Mundial de 2010?",
    "Ahora explica la diferencia.",
    "",
    "?!",
]


@pytest.mark.parametrize("text", DAY)
def test_what_changes_with_the_day_is_bound_to_it(text: str) -> None:
    assert judge(text, YEAR) is TimeBound.DAY


@pytest.mark.parametrize("text", MOMENT)
def test_what_may_change_at_any_time_is_bound_to_the_moment(text: str) -> None:
    assert judge(text, YEAR) is TimeBound.MOMENT


@pytest.mark.parametrize("text", NONE)
def test_other_questions_are_not_bound_to_their_time(text: str) -> None:
    assert judge(text, YEAR) is TimeBound.NONE


@pytest.mark.parametrize(
    ("year", "expected"),
    [(2024, TimeBound.MOMENT), (2025, TimeBound.MOMENT), (2026, TimeBound.NONE)],
)
def test_a_year_is_to_come_until_it_is_over(year: int, expected: TimeBound) -> None:
    assert judge("Who won the championship in 2025?", year) is expected


@given(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_the_year_is_never_ahead_of_the_calendar(moment: datetime) -> None:
    told = year_of(moment.timestamp())
    assert told <= moment.year
    assert told == moment.year or (moment.month == 1 and moment.day <= 4)


@given(st.text(max_size=200))
def test_any_text_can_be_judged(text: str) -> None:
    assert judge(text, YEAR) in TimeBound


@pytest.mark.parametrize("text", DAY + MOMENT)
def test_a_text_that_is_nothing_but_a_quotation_is_what_is_asked(text: str) -> None:
    assert judge(f'"{text}"', YEAR) == judge(text, YEAR) != TimeBound.NONE


def told(*messages: dict[str, Any]) -> TimeBound:
    body = json.dumps({"model": "m", "messages": messages}).encode()
    return judge(ChatRequest.parse(body).question, year_of(1_790_000_000.0))


USER = {"role": "user", "content": "What is the weather today?"}


def test_the_last_user_turn_is_what_counts() -> None:
    assert told(USER) is TimeBound.DAY
    assert told({"role": "system", "content": "Today is Monday."}, {**USER, "content": "Hi"}) == 0
    assert told(USER, {"role": "assistant", "content": "The weather"}) is TimeBound.DAY
    assert told(USER, {"role": "tool", "content": "20 °C", "tool_call_id": "c"}) == 0
    assert told({"role": "system", "content": "Today is Monday."}) == 0


def test_the_text_beside_an_image_counts() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    text = {"type": "text", "text": "Is this open today?"}
    assert told({**USER, "content": [image, text]}) is TimeBound.DAY
    assert told({**USER, "content": [image]}) is TimeBound.NONE
    assert told({**USER, "content": None}) is TimeBound.NONE
