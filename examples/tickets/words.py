"""The words of the small world: plain tables, nothing else."""

from __future__ import annotations


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


POOL = _split(
    "river lamp stone apple chair window garden paper bridge candle mirror basket ladder pencil bottle carpet "
    "hammer island jacket kettle lemon market needle orange pocket rabbit saddle ticket valley wallet anchor "
    "button castle dragon engine feather guitar helmet iron jungle kitten leaf meadow nest ocean pillow "
    "quilt ribbon spoon tower umbrella violin wagon yard barrel cradle desert eagle forest glove harbor inn "
    "jewel kite lantern magnet napkin oven puzzle rope sail tunnel vase wheel"
)
"""Plain nouns for the tasks about words (copy, swap, upper, first, last)."""

OPPOSITES = {
    "hot": "cold", "big": "small", "fast": "slow", "early": "late", "full": "empty", "hard": "soft", "high": "low",
    "old": "young", "rich": "poor", "strong": "weak", "thick": "thin", "wet": "dry", "wide": "narrow", "open": "closed",
    "dark": "bright", "happy": "sad", "heavy": "light", "loud": "quiet", "long": "short", "near": "far",
    "clean": "dirty", "deep": "shallow", "sharp": "blunt", "sweet": "sour", "true": "false", "up": "down",
    "left": "right", "day": "night", "inside": "outside", "above": "below", "first": "last", "win": "lose",
    "buy": "sell", "push": "pull", "start": "stop", "give": "take", "laugh": "cry", "add": "remove",
}  # fmt: skip
"""Both directions are asked."""

CAPITALS = {
    "France": "Paris", "Spain": "Madrid", "Italy": "Rome", "Germany": "Berlin", "Austria": "Vienna",
    "Poland": "Warsaw", "Greece": "Athens", "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki",
    "Denmark": "Copenhagen", "Ireland": "Dublin", "Portugal": "Lisbon", "Hungary": "Budapest", "Romania": "Bucharest",
    "Bulgaria": "Sofia", "Belgium": "Brussels", "Iceland": "Reykjavik", "Latvia": "Riga", "Estonia": "Tallinn",
    "Lithuania": "Vilnius", "Croatia": "Zagreb", "Serbia": "Belgrade", "Albania": "Tirana", "Malta": "Valletta",
    "Turkey": "Ankara", "Egypt": "Cairo", "Kenya": "Nairobi", "Ghana": "Accra", "Nigeria": "Abuja",
    "Morocco": "Rabat", "Tunisia": "Tunis", "Senegal": "Dakar", "Japan": "Tokyo", "China": "Beijing",
    "Pakistan": "Islamabad", "Nepal": "Kathmandu", "Thailand": "Bangkok", "Vietnam": "Hanoi", "Indonesia": "Jakarta",
    "Iran": "Tehran", "Iraq": "Baghdad", "Jordan": "Amman", "Lebanon": "Beirut", "Qatar": "Doha",
    "Canada": "Ottawa", "Cuba": "Havana", "Jamaica": "Kingston", "Peru": "Lima", "Chile": "Santiago",
    "Ecuador": "Quito", "Colombia": "Bogota", "Venezuela": "Caracas", "Uruguay": "Montevideo",
    "Paraguay": "Asuncion", "Australia": "Canberra",
}  # fmt: skip

KINDS = {
    "animal": _split("cat dog horse cow sheep goat pig hen duck goose wolf fox bear deer mouse frog snake whale"),
    "food": _split("bread cheese soup rice pasta salad cake butter honey egg bean carrot onion potato pizza jam"),
    "colour": _split("red blue green yellow purple pink brown grey black white silver gold violet scarlet"),
    "tool": _split("saw drill axe shovel rake pliers chisel wrench screwdriver brush clamp sickle"),
}

NAMES = _split(
    "Anna Ben Clara David Emma Felix Grace Henry Irene Jack Karen Leo Maria Nina Oscar Paula Quentin Rosa Simon Tina"
)
CITIES = _split("Paris Madrid Rome Berlin Vienna Warsaw Athens Oslo Dublin Lisbon Cairo Tokyo Lima Ottawa")
DRINKS = _split("tea milk juice water coffee cocoa cider lemonade")

GOOD_WORDS = _split(
    "great lovely excellent perfect wonderful superb pleasant charming reliable comfortable elegant sturdy handy "
    "delightful fantastic brilliant"
)
BAD_WORDS = _split(
    "awful terrible horrible useless ugly disappointing flimsy annoying unreliable uncomfortable clumsy dreadful "
    "shabby faulty poor miserable"
)
