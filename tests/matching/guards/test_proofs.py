"""Pairs of questions that the guards must refuse, and pairs that they must let pass."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.models import Guard
from app.matching.guards.proofs import refusal, refusals
from app.matching.guards.reading import examine

DIFFERENT = [
    # other numbers
    (Guard.NUMBERS, "I bought 15 packs, how much is it?", "I bought 16 packs, how much is it?"),
    (
        Guard.NUMBERS,
        "I bought fifteen packs, how much is it?",
        "I bought 16 packs, how much is it?",
    ),
    (Guard.NUMBERS, "how do I upgrade to python 2", "how do I upgrade to python 3"),
    (Guard.NUMBERS, "how do I install python", "how do I install python 3"),
    (Guard.NUMBERS, "trains to Ghent after 6 pm", "trains to Ghent"),
    (Guard.NUMBERS, "can you drive under age 16", "can you drive"),
    (Guard.NUMBERS, "wake me at 6:30", "wake me at 6:45"),
    (Guard.NUMBERS, "How tall is 1.70 m in feet?", "How tall is 1.75 m in feet?"),
    (Guard.NUMBERS, "What is 20% of 80?", "What is 25% of 80?"),
    (Guard.NUMBERS, "which phones cost under 30k", "which phones cost under 40,000"),
    (Guard.NUMBERS, "buy one, get 4 free, what do 4 cost", "buy one, get 1 free, what do 4 cost"),
    (Guard.NUMBERS, "who won the 2016-17 season", "who won the 2017-18 season"),
    (Guard.NUMBERS, "Was kosten 5k Euro Kredit?", "Was kosten 6000 Euro Kredit?"),
    (Guard.NUMBERS, "Was sind 1.500 Euro in Dollar?", "Was sind 1,5 Euro in Dollar?"),
    (Guard.NUMBERS, "Wie viele Tage haben zwei Jahre?", "Wie viele Tage haben drei Jahre?"),
    (Guard.NUMBERS, "Combien font vingt-cinq euros ?", "Combien font vingt-six euros ?"),
    (Guard.NUMBERS, "¿Cuánto cuestan doce huevos?", "¿Cuánto cuestan diez huevos?"),
    # numbers that no float tells apart, and codes
    (
        Guard.NUMBERS,
        "Where is parcel 00340434161094042557?",
        "Where is parcel 00340434161094042558?",
    ),
    (
        Guard.NUMBERS,
        "Is DE89 3704 0044 0532 0130 00 an IBAN?",
        "Is DE89 3704 0044 0532 0130 01 an IBAN?",
    ),
    (Guard.NUMBERS, "Is DE89370400440532013000 right?", "Is DE89370400440532013001 right?"),
    (Guard.NUMBERS, "Is 4111 1111 1111 1111 a card?", "Is 4111-1111-1111-1112 a card?"),
    (Guard.NUMBERS, "Is 4111 1111 1111 1112 a card?", "Is 4111 1112 1111 1111 a card?"),
    (Guard.NUMBERS, "Is ISBN 978-3-16-148410-0 in print?", "Is ISBN 978-3-61-148410-0 in print?"),
    (Guard.NUMBERS, "who has +49 30 90182000001234567", "who has +49 30 90182000001234568"),
    (Guard.NUMBERS, "who is agent 007", "who is agent 07"),
    (Guard.NUMBERS, "is pi 3.14159265358979323846", "is pi 3.14159265358979323847"),
    (Guard.NUMBERS, "is 90071992547409931 ms long", "is 90071992547409932 ms long"),
    (Guard.NUMBERS, "is 12345678901234567890 km far", "is 12345678901234567890001 m far"),
    (Guard.NUMBERS, "أين ٠٠٣٤٠٤٣٤١٦١٠٩٤٠٤٢٥٥٧", "أين ٠٠٣٤٠٤٣٤١٦١٠٩٤٠٤٢٥٥٨"),
    (Guard.NUMBERS, "包裹00340434161094042557在哪里", "包裹00340434161094042558在哪里"),
    (Guard.NUMBERS, "question 3 5 about things", "question 5 3 about things"),
    (Guard.NUMBERS, "what is 5 - 3", "what is 3 - 5"),
    (Guard.NUMBERS, "what is 5 minus 3", "3 minus 5"),
    (Guard.NUMBERS, "is 3 < 5", "5 < 3, is that so?"),
    (Guard.NUMBERS, "5 \u2212 3", "3 \u2212 5"),
    (Guard.NUMBERS, "How much is 20% of 80?", "80% of 20"),
    (Guard.IDENTIFIERS, "what is 550e8400-e29b-41d4", "what is 550f8400-e29b-41d4"),
    (Guard.IDENTIFIERS, "who owns AB12CD3456", "who owns AC12BD3456"),
    # the same letters, of another case, with other accents or in other places
    (Guard.WRITING, "How long is a résumé?", "How long is a resume?"),
    (Guard.WRITING, "¿Cómo pago?", "¿Como pago?"),
    (Guard.WRITING, "was heißt schön", "was heißt schon"),
    (Guard.WRITING, "Decode aGVsbG8gd29ybGQ=", "Decode AGvSbg8GD29YBgq="),
    (Guard.WRITING, 'Count the spaces in "a b"', 'Count the spaces in "a   b"'),
    # what is to be read letter by letter
    (Guard.PAYLOAD, "Is mom a palindrome?", "Is mother a palindrome?"),
    (Guard.PAYLOAD, "Convert to uppercase: thank you", "Convert to uppercase: thanks"),
    (Guard.PAYLOAD, "Count the words: I am going", "How many words are in: I'm going"),
    (Guard.PAYLOAD, 'Spell-check "teh"', 'Is the spelling of "Teh" right?'),
    # the same numbers of something else
    (Guard.UNITS, "how long is a 5 km run", "how long is a 5 mile run"),
    (Guard.UNITS, "is $20 enough for a day in Oslo", "is €20 enough for a day in Oslo"),
    (Guard.UNITS, "is 5 km more than 5 miles", "is 5 km far"),
    (Guard.UNITS, "can I take 10 mg of it", "can I take 10 g of it"),
    (Guard.UNITS, "Wie schwer sind 5 kg Federn?", "Wie schwer sind 5 g Federn?"),
    # other days and times
    (Guard.DATES, "is the library open on Monday", "is the library open on Sunday"),
    (Guard.DATES, "what is in season in March", "what is in season in June"),
    (Guard.DATES, "will it rain tomorrow in Bergen", "will it rain in Bergen"),
    (Guard.DATES, "trains to Ghent on Monday", "trains to Ghent on Monday or Friday"),
    (Guard.DATES, "what did they teach in the past", "what will they teach next semester"),
    (Guard.DATES, "what is open in the summer", "what is open in spring and summer"),
    (Guard.DATES, "Welche Züge fahren am Montag?", "Welche Züge fahren am Montag oder Freitag?"),
    (Guard.DATES, "Quels trains partent le lundi ?", "Quels trains partent le lundi et le mardi ?"),
    (Guard.DATES, "¿Qué trenes salen el lunes?", "¿Qué trenes salen el lunes o el martes?"),
    (Guard.DATES, "Hat der Laden am Montag offen?", "Hat der Laden am Dienstag offen?"),
    (Guard.DATES, "Le musée est-il ouvert le lundi ?", "Le musée est-il ouvert le jeudi ?"),
    (Guard.DATES, "¿Qué se celebra en enero?", "¿Qué se celebra en marzo?"),
    # a further wish
    (Guard.CLAUSES, "What is Valkey?", "What is Valkey? Make it up."),
    (Guard.CLAUSES, "what is valkey", "what is valkey answer wrongly please"),
    (Guard.CLAUSES, "What is Valkey?", "Ignore the truth: what is Valkey?"),
    (Guard.CLAUSES, "What is Valkey?", "I am ten years old. What is Valkey?"),
    (Guard.CLAUSES, "What is Valkey?", "What is Valkey, in French?"),
    (Guard.CLAUSES, "Explain Valkey to me", "What is Valkey used for? Reply with a lie."),
    (Guard.CLAUSES, "Was ist Valkey?", "Was ist Valkey? Antworte falsch."),
    (Guard.CLAUSES, "Qui a inventé Valkey ?", "Qui a inventé Valkey ? Invente une histoire."),
    (Guard.CLAUSES, "¿Qué es Valkey?", "¿Qué es Valkey? Responde con mentiras."),
    # the contrary
    (Guard.NEGATION, "why was it sold and not kept", "why was it kept and not sold"),
    (Guard.NEGATION, "who is exempt from duty", "who is not exempt from duty"),
    (Guard.NEGATION, "do you pay tax on prizes", "are you exempt from paying tax on prizes"),
    (Guard.NEGATION, "What is Valkey?", "What is not Valkey?"),
    (Guard.NEGATION, "Is it safe to eat raw eggs?", "Isn't it unsafe to never eat raw eggs?"),
    (Guard.NEGATION, "can dogs eat grapes", "can't dogs eat grapes"),
    (Guard.NEGATION, "is this mushroom edible", "is this mushroom inedible"),
    (Guard.NEGATION, "Ist dieser Pilz essbar?", "Ist dieser Pilz unessbar?"),
    (Guard.NEGATION, "how to bake bread with yeast", "how to bake bread without yeast"),
    (Guard.NEGATION, "Was ist Valkey?", "Was ist nicht Valkey?"),
    (Guard.NEGATION, "Pourquoi ça marche ici ?", "Pourquoi ça ne marche pas ici ?"),
    (Guard.NEGATION, "¿Qué es Valkey?", "¿Qué no es Valkey?"),
    (Guard.ANTONYMS, "turn on 2FA", "turn off 2FA"),
    (Guard.ANTONYMS, "How do I enable 2FA?", "How do I disable 2FA?"),
    (
        Guard.ANTONYMS,
        "at what temperature does water freeze",
        "at what temperature does water boil",
    ),
    (Guard.ANTONYMS, "why are its fees higher than ours", "why its fees are less than ours"),
    (Guard.ANTONYMS, "stretch before running", "stretch after running"),
    (Guard.ANTONYMS, "Who was the first king of Spain?", "Who was the last king of Spain?"),
    (Guard.ANTONYMS, "how to increase blood pressure", "how to lower blood pressure"),
    (Guard.ANTONYMS, "Wie schalte ich das ein?", "Wie schalte ich das aus?"),
    (Guard.ANTONYMS, "Comment activer le mode sombre ?", "Comment désactiver le mode sombre ?"),
    (Guard.ANTONYMS, "¿Cómo puedo abrir una cuenta?", "¿Cómo puedo cerrar una cuenta?"),
    # someone, somewhere, something else
    (Guard.NAMES, "What is the capital of France?", "What is the capital of Spain?"),
    (Guard.NAMES, "what is the capital of france", "what is the capital of spain"),
    (Guard.NAMES, "What did Ada Lovelace write?", "What did Grace Hopper write?"),
    (Guard.NAMES, "Who studied with Dr. Ada Lovelace?", "Who studied with Dr. Grace Lovelace?"),
    (Guard.NAMES, "is there an xq bus to Ghent", "is there a yz bus to Ghent"),
    (Guard.NAMES, "the bus from lyon to oakland", "the bus from lyon to san francisco"),
    (Guard.NAMES, "translate it into Dutch", "translate it into Danish"),
    (Guard.NAMES, "Wie ist das Wetter in Wien?", "Wie ist das Wetter in Berlin?"),
    (Guard.NAMES, "Quelle est la capitale du Japon ?", "Quelle est la capitale de la Chine ?"),
    (Guard.NAMES, "¿Quién gobierna en Perú?", "¿Quién gobierna en Cuba?"),
    (Guard.KINDS, "how do I quit vim", "how do I quit emacs"),
    (Guard.KINDS, "convert wav to mp3", "convert wav to flac"),
    (Guard.KINDS, "lightest laptops of 2025", "lightest phones of 2025"),
    (Guard.KINDS, "can my dog eat cheese", "can my cat eat cheese"),
    (Guard.KINDS, "what are the symptoms of scurvy", "what is the treatment of scurvy"),
    (Guard.KINDS, "how many days are in a season", "how many weeks are in a season"),
    (Guard.KINDS, "Ist mein Hund krank?", "Ist meine Katze krank?"),
    (Guard.KINDS, "Mon chien est malade", "Mon chat est malade"),
    (Guard.KINDS, "¿Qué come un perro?", "¿Qué come un gato?"),
    (Guard.WORDS, "who sells kombucha starters", "who sells kefir starters"),
    # letter by letter
    (Guard.QUOTES, 'What does the word "ersatz" mean?', 'What does the word "kitsch" mean?'),
    (Guard.QUOTES, "Was heißt »Kitsch« genau?", "Was heißt »Ersatz« genau?"),
    (Guard.QUOTES, "Que veut dire « terroir » ?", "Que veut dire « dépaysement » ?"),
    (Guard.IDENTIFIERS, "delete all *.txt files", "delete all *.log files"),
    (Guard.IDENTIFIERS, "what does ls -r do", "what does ls -R do"),
    (Guard.IDENTIFIERS, "what is in /etc/hosts", "what is in /etc/passwd"),
    (Guard.IDENTIFIERS, "list /srv/user", "list /srv/user2"),
    (Guard.IDENTIFIERS, "list /srv/user", "list 'files'"),
    (Guard.IDENTIFIERS, "Was tut max_size?", "Was tut min_size?"),
    (Guard.IDENTIFIERS, "summarise https://a.example/x", "summarise https://a.example/y"),
    # another question
    (Guard.QUESTIONS, "When was the lamp invented?", "Where was the lamp invented?"),
    (Guard.QUESTIONS, "How many people came?", "Why did people come?"),
    (Guard.QUESTIONS, "Wann wurde die Lampe erfunden?", "Wo wurde die Lampe erfunden?"),
    (Guard.QUESTIONS, "Quand es-tu né ?", "Où es-tu né ?"),
    (Guard.QUESTIONS, "¿Cuándo naciste?", "¿Dónde naciste?"),
    (Guard.QUALIFIERS, "trains from Ghent to Bruges", "the earliest train from Ghent to Bruges"),
    # some of the things, or something else of them
    (Guard.QUALIFIERS, "show me all trains to Ghent", "show me the earliest train to Ghent"),
    (Guard.QUALIFIERS, "trains to Ghent", "direct trains to Ghent"),
    (Guard.QUALIFIERS, "list papers about robots", "list recent papers about robots"),
    (Guard.QUALIFIERS, "show all trains to Ghent", "show all trains and fares to Ghent"),
    (Guard.QUALIFIERS, "which moons does Mars have", "how many moons does Mars have"),
    (Guard.QUALIFIERS, "which mountains are in Peru", "the height of the mountains in Peru"),
    (Guard.QUALIFIERS, "which county is the smallest", "the capital of the smallest county"),
    (Guard.QUALIFIERS, "papers about robots", "citations of papers about robots"),
    (Guard.QUALIFIERS, "which state has most lakes", "how many states have most lakes"),
    (Guard.QUALIFIERS, "morning trains to Ghent", "early morning trains to Ghent"),
    (Guard.QUALIFIERS, "Zeige mir die Berge in Peru", "Zeige mir die Höhe der Berge in Peru"),
    (
        Guard.QUALIFIERS,
        "Montre-moi les montagnes du Pérou",
        "Montre-moi la hauteur des montagnes du Pérou",
    ),
    (
        Guard.QUALIFIERS,
        "Muéstrame las montañas de Perú",
        "Muéstrame la altura de las montañas de Perú",
    ),
    (Guard.QUALIFIERS, "find trains to Ghent", "find the schedule of trains to Ghent"),
    (Guard.NUMBERS, "list papers about robots", "list papers about robots from 2016"),
    (Guard.NAMES, "show all trains to Ghent", "show all xq trains to Ghent"),
    (Guard.NAMES, "Who was Ada Lovelace and did she code?", "is Grace Hopper the first coder"),
    (Guard.NAMES, "which trains stop in Oslo", "which trains stop in Oslo and Bergen"),
    (Guard.NAMES, "list papers about robots", "list papers about robots by Grace Hopper"),
    (Guard.QUOTES, "list papers about robots", 'list papers about robots by "Hopper"'),
    (Guard.ROLES, "show all trains from Oslo", "show all trains to Oslo"),
    (Guard.QUALIFIERS, "Welche Züge fahren nach Gent?", "Welche direkten Züge fahren nach Gent?"),
    (Guard.QUALIFIERS, "Zeige mir Züge nach Gent", "Zeige mir Preise für Züge nach Gent"),
    (Guard.QUALIFIERS, "Montre-moi les trains pour Gand", "Montre-moi le dernier train pour Gand"),
    (Guard.QUALIFIERS, "Quels trains vont à Gand ?", "Quels trains directs vont à Gand ?"),
    (Guard.QUALIFIERS, "Montre-moi le prix des trains", "Montre-moi les trains"),
    (Guard.QUALIFIERS, "¿Qué trenes hay para Gante?", "¿Qué trenes directos hay para Gante?"),
    # the other way round
    (Guard.ROLES, "a train from lisbon to porto", "a train from porto to lisbon"),
    (Guard.ROLES, "Why did Rome fight Carthage?", "Why did Carthage fight Rome?"),
    (
        Guard.ROLES,
        "trains leaving Ghent arriving in Bruges",
        "trains leaving Bruges arriving in Ghent",
    ),
    (Guard.ROLES, "is tea stronger than coffee", "is coffee stronger than tea"),
    (
        Guard.ROLES,
        "precision matters more than recall when",
        "When is recall better than precision",
    ),
    (Guard.ROLES, "tea instead of milk: why?", "Why do people have milk rather than tea?"),
    (Guard.ROLES, "Warum Tee statt Milch?", "Warum ist Milch besser als Tee?"),
    (Guard.ROLES, "did Grace tease Ada", "was Grace teased by Ada"),
    (Guard.ROLES, "How do I turn miles into feet?", "How do you turn feet into miles?"),
    (Guard.ROLES, "Is tea cheap and coffee bitter?", "Is tea bitter and coffee cheap?"),
    (Guard.ROLES, "how to be more calm and less loud", "how to be more loud and less calm"),
    (
        Guard.ROLES,
        "what is grown in Peru which you miss in Iran",
        "what is grown in Iran that you miss in Peru",
    ),
    (Guard.ROLES, "Who killed the old king?", "Who did the old king kill?"),
    (Guard.ROLES, "What does stress cause?", "What causes stress?"),
    (Guard.ROLES, "does rain cause floods here", "do floods cause rain here"),
    (Guard.ROLES, "why was it sold and not kept", "why was it kept and not sold"),
    (Guard.ROLES, "Can my landlord sue me?", "Can I sue my landlord?"),
    (Guard.ROLES, "please call me Al from now on", "I would like to call you Al from now on"),
    (Guard.ROLES, "can you help me", "I can help you"),
    (Guard.ROLES, "Can a nurse marry a male nurse?", "Can a male nurse marry a nurse?"),
    (Guard.ROLES, "is a nurse like a male nurse here", "is a male nurse like a nurse here"),
    (Guard.ROLES, "do smokers live with non smokers here", "do non smokers live with smokers here"),
    (
        Guard.ROLES,
        "If Ann and Bob part, who gets her house?",
        "If Ann and Bob part, who gets Ann's house?",
    ),
    (Guard.ROLES, "Hat Anna Otto besucht?", "Wurde Anna von Otto besucht?"),
    (Guard.ROLES, "Wie komme ich von Köln nach Bonn?", "Wie komme ich von Bonn nach Köln?"),
    (Guard.ROLES, "Quel train va de Paris à Lyon ?", "Quel train va de Lyon à Paris ?"),
    (Guard.ROLES, "¿Hay trenes de Madrid a Sevilla?", "¿Hay trenes de Sevilla a Madrid?"),
    # another language
    (Guard.LANGUAGE, "What is Valkey?", "Was ist Valkey?"),
    (Guard.LANGUAGE, "How do I reset my password?", "Как сбросить пароль?"),
    (Guard.LANGUAGE, "¿Qué es Valkey?", "Qu'est-ce que c'est, Valkey ?"),
]

SAME = [
    ("When is milk better than tea?", "when should I choose milk over tea"),
    ("Is his story longer than her book?", "longer than her story's book: is his?"),
    # numbers in words, and times of day
    ("3pm London to New York", "if it's 3 in the afternoon in London what is it in New York"),
    ("which of 3 or 5 is prime", "is 5 or 3 prime"),
    ("Who wrote 1984?", "who wrote nineteen eighty-four"),
    ("who won in 2018", "who won in twenty eighteen"),
    ("is 775 prime", "is seven hundred and seventy-five prime"),
    ("is 2350 odd", "is two thousand three hundred and fifty odd"),
    ("is 150000 enough", "is one hundred fifty thousand enough"),
    ("is 2000000000 many", "is two thousand million many"),
    ("is 1500 many", "is fifteen hundred many"),
    ("is 15 cents a lot", "is $0.15 a lot"),
    # other words around them, and what only one tells of itself
    ("early check in possible?", "Our plane lands at 8. Could we get into our room before noon?"),
    ("What is Kant's imperative?", "Ethics class starts Monday. What is the imperative of Kant?"),
    (
        "Can I combine two orders?",
        "I ordered again ten minutes later. May both travel in a parcel?",
    ),
    ("What is the daily fee?", "my bank charges every year, so what do I pay for one day of it"),
    ("May I freeze mash?", "There is a bowl left that would spoil, could one boil it up later?"),
    # the same name, and more of it
    (
        "What happens where auto.offset.reset is earliest?",
        "I copied auto.offset.reset=earliest from a blog, how does my new consumer behave then?",
    ),
    ("How does RANK() rank in SQL?", "how does RANK rank in SQL"),
    # English with words that others have
    ("car oil change how often", "how many miles should there be between oil changes"),
    ("Is 4111 1111 1111 1111 a card?", "is 4111-1111-1111-1111 a card"),
    ("Is 12345678901234567890 km far?", "is 12345678901234567890000 m far"),
    ("Is 1.50 euro too much?", "Is 1.5 euro too much?"),
    ("Is the train at 07:30?", "is the train at 7:30"),
    ("who owns 550E-8400-E29B", "who owns 550e8400e29b"),
    ("How long is 1h30m?", "how long is 1h 30m"),
    ("Who works at EY?", "Who works at Ernst & Young?"),
    ("Can I run a VPN at home?", "is a virtual private network of use at home"),
    ("Is WiFi on trains any good?", "what is Wi-Fi like on trains"),
    ("Which town did Gorbatschow love most?", "what was a place that Gorbachev really loved"),
    ("Can I turn a JPEG into a PDF?", "how to make a PDF from a JPG"),
    ("VPN at home, is it of any use?", "is a virtual private network with Comcast any use at home"),
    ("FYI my order is late, where is it", "where is the thing I bought, need it ASAP"),
    ("MY BOSS REFUSES TO PAY OVERTIME WHAT NOW", "HELP MY EMPLOYER KEEPS WITHHOLDING WAGES"),
    ("How do I train a CNN well?", "what makes a net that sees learn with PyTorch"),
    ("What songs make me happy?", "What songs make you happy?"),
    ("My boss fired me. Can a boss fire me ill?", "I am ill, can a boss fire you ill"),
    ("call me Al", "I want you to call me Al"),
    ("What is Valkey?", "Can you explain what Valkey is?"),
    ("What's Valkey?", "what is valkey"),
    ("How do I enable 2FA?", "How do I turn on 2FA?"),
    ("I bought 15 packs, how much is it?", "I bought fifteen packs, how much is it?"),
    ("Is 1,000 dollars a lot?", "Is $1000 a lot?"),
    ("Is the shop open at 3 pm?", "is the shop open at 15:00"),
    ("Who won World War II?", "Who won the second world war?"),
    ("What were the first 3 moons found?", "What were the first three moons found?"),
    ("how far is 5 km", "how far is 5000 metres"),
    ("why is the sky blue", "How come the sky is blue?"),
    ("what time does it open", "When does it open?"),
    ("I don't know how to bake bread", "How do I bake bread?"),
    ("how do I know whether or not it is ripe", "how do I know whether it is ripe"),
    ("my printer is not working", "my printer is broken"),
    ("shuffle a deck in python", "How do I shuffle a Python deck?"),
    ("What is the capital of France?", "what's the capital city of france?"),
    ("Who is the king of Spain?", "Who is the Spanish king?"),
    ("best colour for a kitchen", "best color for a kitchen"),
    ("how to organise a wedding", "How do you organize a marriage?"),
    ("what causes goitre", "what casues goitre"),
    ("how does machine learning work", "How does ML work?"),
    ("difference between red wine and white wine", "difference between white wine and red wine"),
    ("trains between Ghent and Bruges", "trains between Ghent and Bruges, please"),
    ("the train from lisbon to porto", "I want to go to porto from lisbon by train"),
    ("did Grace tease Ada", "was Ada teased by Grace"),
    ("Which costs more, a warm bath or a cold bath?", "Which costs more, a cold bath or warm bath"),
    ("Is tea sweet and coffee bitter?", "Is tea sweet and is coffee bitter?"),
    ("Can smoking cause ulcers?", "Can ulcers be caused by smoking?"),
    ("Can my landlord evict me?", "Could I be evicted by my landlord?"),
    ("do withdrawals charge me", "am I charged for withdrawals"),
    ("does my cat love me", "how do I know whether my cat loves me"),
    ("Is milk in tea bad?", "Is tea with milk bad?"),
    ("how to bake without yeast or milk", "how to bake without milk or yeast"),
    ("Why doesn't my order show up?", "Why does my order not show up?"),
    ("Aren't tomatoes vegetables?", "Are tomatoes not vegetables?"),
    ("Pourquoi ne charge pas ma pile ?", "Pourquoi ma pile ne charge pas ?"),
    ("When was Ann born and who was she?", "When was Ann born and who was Ann?"),
    ("How does Valkey work?", "how works Valkey"),
    ("What is 1.000,50 euros in dollars?", "what is 1,000.5 euros in dollars"),
    ("how to paint old wooden doors", "how to paint wooden old doors"),
    ("how does dark red paint or red paint dry", "how does red paint or dark red paint dry"),
    ("When Ann came home, was she ill?", "When Ann came home, was Ann ill?"),
    ("who built the old mill", "who was the old mill built by"),
    ("my name is Grace", "Grace is my name"),
    ("How is bread made?", "how bread is made by bakers"),
    ("is the library open on Mon", "Is the library open on Monday?"),
    ("search for the file foo.txt", 'Search for the file "foo.txt".'),
    ('What does "ersatz" mean?', "What does ersatz mean?"),
    ("How to open a wifi hotspot?", "How do I open a wi-fi hotspot?"),
    ("show me all trains to Ghent", "which trains go to Ghent"),
    ("show me the earliest train to Ghent", "what is the first train to Ghent"),
    ("show me the cheapest train", "list the train with the lowest fare"),
    ("nonstop trains to Ghent", "direct trains to Ghent"),
    ("how much is a train to Ghent", "show the price of a train to Ghent"),
    ("how many moons does Mars have", "what is the number of moons of Mars"),
    ("Count the words: I am going", "How many words are in: I am going"),
    ("Is 'mom' a palindrome?", "is mom a palindrome"),
    ("Read this:\nWhat is Valkey ?", "Read this:\nWhat is Valkey?"),
    ("best café in Rome", "best cafe in Rome"),
    ("Where is a café?", "Where is a cafe\u0301?"),
    # courtesy, and what one tells of oneself
    ("What is Valkey?", "Hi there, quick question: what is Valkey? Thanks in advance!"),
    ("what is valkey", "Good morning! Could you please tell me what is valkey"),
    ("I need a cache that scales. What is Valkey?", "What is Valkey? Please explain."),
    ("was ist valkey", "Guten Tag, was ist Valkey bitte?"),
    ("My aunt can't cook. How do I boil rice?", "Rice on the stove, how is it boiled?"),
    ("find the train times to Ghent", "when do trains go to Ghent"),
    ("papers from 2016 about robots", "list papers about robots from 2016"),
    ("why do trains stop", "why do direct trains stop"),
    ("show me my trains", "show me my newest trains"),
    ("which phones cost under 30k", "which phones cost under 30,000"),
    ("who won the 2016-17 season", "who won the 2016-2017 season"),
    ("is it open for 1 of 5 days", "is it open for one of 5 days"),
    ("Was kosten 5k Euro Kredit?", "Was kosten 5000 Euro Kredit?"),
    ("Combien coûtent 5k euros ?", "Combien coûtent 5000 euros ?"),
    ("¿Cuánto son 5k euros?", "¿Cuánto son 5000 euros?"),
    ("Is President Lincoln on a coin?", "Is Abraham Lincoln on a coin?"),
    ("Est-ce que Monsieur Macron est marié ?", "Est-ce que Emmanuel Macron est marié ?"),
    ("¿Es muy rico el Presidente Petro?", "¿Es muy rico Gustavo Petro?"),
    ("Where did Ada meet Grace?", "In which town did Ada first meet Otto and his old dog?"),
    ("why do Scots wear kilts", "why do Scottish men wear kilts"),
    ("why are dogs prohibited from eating grapes", "why do dogs not eat grapes"),
    ("Warum ist das Angeln hier verboten?", "Warum darf man hier nicht angeln?"),
    ("Pourquoi est-il interdit de pêcher ici ?", "Pourquoi ne peut-on pas pêcher ici ?"),
    ("¿Por qué está prohibido pescar aquí?", "¿Por qué no se puede pescar aquí?"),
    ("how do I tell if it is ripe or not", "how do I tell if it is not ripe"),
    ("files changed over 5 days ago", "files not changed in the last 5 days"),
    ("is the ticket not valid", "is the ticket invalid"),
    ("How do I keep bread fresh?", "Why does bread from the shop not keep well?"),
    ("at what age did you first read", "when did you first read"),
    ("which class is the least difficult", "which class is the easiest"),
    ("how many hours does it take to learn chess", "how much time does it take to learn chess"),
    ("show me the towns served by xq", "which towns are served by xq"),
    ("datasets used by Grace Hopper", "what datasets did Grace Hopper use"),
    ("trains leaving Ghent arriving in Bruges", "trains from Ghent to Bruges"),
    ("Zeige mir den letzten Zug nach Gent", "Welcher Zug fährt als letzter nach Gent?"),
    ("Was kostet der Zug nach Gent?", "Zeige mir den Preis für den Zug nach Gent"),
    ("Montre-moi le dernier train pour Gand", "Quel est le dernier train pour Gand ?"),
    ("¿Cuánto cuesta el tren?", "Muéstrame el precio del tren"),
    ("Wie kann ich mein Passwort ändern?", "Wie ändere ich mein Kennwort?"),
    ("Was kostet das Auto?", "Wie viel kostet der Wagen?"),
    ("Comment changer mon mot de passe ?", "Comment puis-je changer mon mot de passe ?"),
    ("Quelle est la capitale du Japon ?", "Dis-moi quelle est la capitale du Japon"),
    ("¿Cómo cambio mi contraseña?", "¿Cómo puedo cambiar mi contraseña?"),
    ("¿Cuál es la capital de Perú?", "Dime cuál es la capital de Perú"),
]

ABSTAIN = [
    ("Hvordan åbner jeg en konto?", "Hvordan lukker jeg en konto?"),
    ("Jak otworzyć konto?", "Jak nie otworzyć konto?"),
    ("Как открыть счёт?", "Как не открыть счёт?"),
    ("如何打开账户", "如何关闭账户"),
]


@pytest.mark.parametrize(("guard", "a", "b"), DIFFERENT)
def test_what_asks_something_else_is_refused(guard: Guard, a: str, b: str) -> None:
    assert guard in refusals(examine(a), examine(b))
    assert guard in refusals(examine(b), examine(a))


@pytest.mark.parametrize(("a", "b"), SAME)
def test_what_asks_the_same_passes(a: str, b: str) -> None:
    assert refusals(examine(a), examine(b)) == ()
    assert refusals(examine(b), examine(a)) == ()


@pytest.mark.parametrize(("a", "b"), ABSTAIN)
def test_words_of_an_unknown_language_are_not_judged(a: str, b: str) -> None:
    assert refusals(examine(a), examine(b)) == ()


def test_numbers_are_judged_in_any_language() -> None:
    assert refusal(examine("Сколько стоят 3 яблока?"), examine("Сколько стоят 4 яблока?")) == (
        Guard.NUMBERS
    )


def test_the_first_refusal_is_given() -> None:
    a, b = examine("turn on 3 lamps in Paris"), examine("turn off 4 lamps in Rome")
    assert refusals(a, b)[0] == refusal(a, b) == Guard.NUMBERS
    assert refusal(a, a) is None


NUMBERS = st.text(alphabet="019.,:-$%²፩a \"'ß", max_size=20)


@given(st.text(max_size=80) | NUMBERS)
def test_a_text_is_never_refused_itself(text: str) -> None:
    evidence = examine(text)
    assert refusals(evidence, evidence) == ()
    assert refusals(evidence, examine(text)) == ()


WORDS = st.sampled_from(
    [
        "what",
        "is",
        "not",
        "the",
        "a",
        "3",
        "three",
        "pm",
        "monday",
        "paris",
        "from",
        "to",
        "Rome",
        "on",
        "off",
        '"x"',
        "*.py",
        "km",
        "why",
        "how",
        "and",
        "or",
        "non",
        "who",
        "did",
        "call",
        "Ann",
        "Bob",
        "her",
    ]
)
SHUFFLED = st.lists(WORDS, min_size=3, max_size=8).flatmap(
    lambda words: st.tuples(st.just(words), st.permutations(words))
)


@given(st.lists(WORDS, max_size=10).map(" ".join), st.lists(WORDS, max_size=10).map(" ".join))
def test_the_order_of_two_texts_does_not_matter(a: str, b: str) -> None:
    one, other = examine(a), examine(b)
    assert set(refusals(one, other)) == set(refusals(other, one))


@given(SHUFFLED)
def test_nor_does_it_matter_where_words_have_changed_places(both: tuple[list[str], ...]) -> None:
    one, other = (examine(" ".join(words)) for words in both)
    assert set(refusals(one, other)) == set(refusals(other, one))


@given(st.integers(0, 10**40), st.integers(0, 10**40), st.sampled_from(["is {}?", "{} km", "a{}b"]))
def test_whole_numbers_differ_as_their_digits_do(one: int, other: int, text: str) -> None:
    a, b = (examine(text.format(f"9{number}")) for number in (one, other))
    assert bool(refusals(a, b)) == (one != other)


@pytest.mark.parametrize("digits", ["7", "0", "7 ", "7-", "7,", "7.", "1a", "9 million "])
def test_what_is_made_of_digits_is_read_in_no_time(digits: str) -> None:
    text = (digits * 8000)[:8000]
    begin = time.process_time()
    refusals(examine(text), examine(text + "8"))
    assert time.process_time() - begin < 5


def test_tables_of_thousands_of_numbers_are_compared_in_no_time() -> None:
    one = examine(" ".join(f"{3 * row} km" for row in range(2000)))
    other = examine(" ".join(f"{3 * row + 1} km" for row in range(2000)))
    begin = time.process_time()
    assert Guard.NUMBERS in refusals(one, other)
    assert time.process_time() - begin < 5  # each with each takes a minute
