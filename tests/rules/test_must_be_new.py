import pytest

from app.rules.must_be_new import must_be_new

NEW = """
Flip a coin
flip a coin.
Please flip a coin for me!
Can you flip a coin?
Could you please toss a coin and tell me what you got?
Heads or tails?
Roll two dice
Roll a six-sided die
Roll 2d6
Roll a d20 for initiative
Draw a card
Spin the wheel!
Shuffle this list: a, b, c
Generate a UUID
Generate a UUID.
generate 5 random uuids
Give me a GUID
I need a UUID for my Python app
Pick a random winner from this list
Pick a random winner from this list: Ann, Bob, Cy
Here is a list: Ann, Bob, Cy. Choose a winner.
From these names, pick one at random: Ann, Bob
Take these names and pick one at random: Ann, Bob
Randomly assign these people to two teams
Tell me another joke
tell me another joke please
Give me another example
Another one
Another one, please!
One more
Try again
Surprise me
Generate a strong password
Create a secure password with 16 characters
Can you make me a strong password?
I need a strong password
I'd like a new passphrase
Give me a random number
Give me a random number between 1 and 10
Pick a number between 1 and 10
Think of a number
What's a random number between 1 and 10?
Write a random sentence
Suggest a random username
Generate a random string of 16 characters
Generate an API key
I'm bored, tell me another joke.
Ok. Now tell me a different joke
Coin flip, please
How about a coin flip?
flip that coin please, i choose heads
Can I get another joke?
Random number
Next joke
Let's play rock paper scissors
Suggest a different name
Create a unique coupon code
Wirf eine Münze
Wirf bitte eine Münze
Kannst du eine Münze werfen?
Würfle
Würfel mal für mich
Generiere eine UUID
Erzeuge ein sicheres Passwort
Kannst du mir ein sicheres Passwort generieren?
Ich brauche ein sicheres Passwort
Nenne mir eine zufällige Zahl zwischen 1 und 10
Gib mir eine Zufallszahl
Wähle zufällig einen Gewinner aus dieser Liste
Ziehe einen Gewinner aus dieser Liste
Erzähl mir noch einen Witz
Erzähle mir einen anderen Witz
Noch einen!
Kopf oder Zahl?
Lance une pièce
Lance un dé
Pile ou face ?
Génère un UUID
Génère un mot de passe fort
Peux-tu me générer un mot de passe sécurisé ?
J'ai besoin d'un mot de passe fort
Donne-moi un nombre aléatoire entre 1 et 10
Choisis un gagnant au hasard dans cette liste
Raconte-moi une autre blague
Encore une !
Lanza una moneda
Tira un dado
¿Cara o cruz?
Genera un UUID
Genera una contraseña segura
¿Puedes generar una contraseña segura?
Necesito una contraseña segura
Dame un número aleatorio entre 1 y 10
Elige un ganador al azar de esta lista
Cuéntame otro chiste
Otro, por favor
"""
NOT = """
What is a random forest?
How do I shuffle a list?
How do I flip a coin in JavaScript?
How can I generate a UUID in Python?
What is a UUID?
What is a strong password?
Why is a coin flip fair?
What are the odds of heads or tails?
Explain random variables
Explain what a UUID is
Tell me what a UUID is
Tell me about random access memory
Tell me how to generate a strong password
Show me how to pick a random element
Write a function that returns a random number
Write a Python script to pick a random winner
Create a table with a uuid column
Give me a definition of a random variable
Create a random forest classifier
Generate a password policy for a bank
Name the winner of the 1998 World Cup
Tell me the winner of the 2010 World Cup
I need to reset my password
Can you explain random walks?
How do I shuffle a list and pick a random element?
Is there another way to sort a list?
I need help to recover my password
I want to reset the PIN code of my profile
I need to enter another shipping address
Can the PS4 use two or more controllers?
Give me tips for a strong password
List the advantages of UUIDs
Create a login page with a password field
Generate Python code that creates a UUID
Write a story about another planet
Translate to French: Tell me another joke
Summarize: flip a coin, she said, and he did
What does "flip a coin" mean?
Can you tell me whether UUIDs are unique?
The service generates a UUID for each order and stores it.
Do not flip a coin
Tell me a joke
What is Valkey?
Draw a cat
Roll back the transaction
Give me the capital of France
Was ist ein Random Forest?
Wie mische ich eine Liste?
Wie erzeuge ich eine UUID in Python?
Erkläre, was eine UUID ist
Kannst du mir erklären, was eine UUID ist?
Was ist ein sicheres Passwort?
Nenne den Gewinner der WM 2014
Wie werfe ich eine Münze in Java?
Schreibe eine Funktion, die eine zufällige Zahl liefert
Qu'est-ce qu'une forêt aléatoire ?
Comment mélanger une liste ?
Comment générer un mot de passe fort ?
Explique ce qu'est un UUID
Peux-tu m'expliquer ce qu'est un UUID ?
Quel est le gagnant de la coupe du monde 1998 ?
Écris une fonction qui renvoie un nombre aléatoire
¿Qué es un bosque aleatorio?
¿Cómo mezclo una lista?
¿Cómo genero una contraseña segura?
Explica qué es un UUID
¿Puedes explicar qué es un UUID?
Escribe una función que devuelva un número aleatorio
"""


@pytest.mark.parametrize("text", NEW.strip().splitlines())
def test_chance_and_secrets_and_something_else_than_before_must_be_new(text: str) -> None:
    assert must_be_new(text)


@pytest.mark.parametrize("text", NOT.strip().splitlines())
def test_what_is_asked_about_them_need_not(text: str) -> None:
    assert not must_be_new(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False),
        (" \n", False),
        ("Fix this:\n```\n# flip a coin\nrandom.random()\n```", False),
        ("Valkey is fast. " * 1000 + "Flip a coin.", True),
        ("Flip a coin. " + "Valkey is fast. " * 1000, True),
    ],
)
def test_code_is_not_read_and_the_ends_of_long_texts_are(text: str, expected: bool) -> None:
    assert must_be_new(text) is expected
