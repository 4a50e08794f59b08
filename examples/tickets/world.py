"""The support desk of a small lamp maker: tickets, their categories, and the house rule for their priority.

Every text of the example is written here, from phrase tables and a seeded `random.Random`.
Half of the issue phrases are *common* (the base model has met them), half are *house* phrases (the company alone
uses them).
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

from words import BAD_WORDS, CAPITALS, GOOD_WORDS, NAMES

PLANS = ("free", "pro", "enterprise")
PRODUCTS = ("Atlas", "Beacon", "Comet", "Ember", "Halo", "Orbit", "Prism", "Torch")
SEVERITIES = ("low", "normal", "high")

# category -> (phrase, how grave it is on its own)
COMMON = {
    "billing": (
        ("my card was charged twice for the {product}", "high"),
        ("the invoice for {month} shows the wrong total", "normal"),
        ("the {month} receipt was never sent to us", "low"),
        ("the monthly bill went up without notice", "normal"),
    ),
    "access": (
        ("nobody here can log in to the account", "high"),
        ("the password reset mail never arrives", "normal"),
        ("my user name has a spelling mistake", "low"),
        ("the sign in code for the {product} app is rejected", "high"),
    ),
    "delivery": (
        ("the parcel with the {product} has not arrived", "normal"),
        ("the {product} box came broken and wet", "high"),
        ("nobody could name a delivery date", "low"),
        ("the courier left the {product} at a wrong address", "normal"),
    ),
    "bug": (
        ("the {product} app crashes when I open it", "high"),
        ("the settings page of the {product} loads very slowly", "normal"),
        ("one icon in the menu has the wrong shape", "low"),
        ("the screen stays blank after the update", "high"),
    ),
    "refund": (
        ("I sent the {product} back and want my money", "normal"),
        ("the refund from {month} was promised but never paid", "high"),
        ("we asked how long a refund takes and got no answer", "low"),
        ("I ordered the {product} by mistake and wish to return it", "normal"),
    ),
    "idea": (
        ("it would be nice to have a darker theme", "low"),
        ("we wish for an export to a spreadsheet", "low"),
        ("we would like a timer for the {product}", "normal"),
        ("we must have a report for the {month} audit", "high"),
    ),
}
HOUSE = {
    "billing": (
        ("the kilowatt meter claims tenfold usage", "high"),
        ("the seat ledger counts ghosts on the {month} sheet", "normal"),
    ),
    "access": (
        ("the badge portal sends everyone in circles", "high"),
        ("a guest key still hangs on the {product} ring", "low"),
    ),
    "delivery": (
        ("the night drop skipped our dock", "normal"),
        ("the crate label of the {product} names our former depot", "low"),
    ),
    "bug": (
        ("the mesh drops all lamps at dusk", "high"),
        ("the {product} halo blinks faintly at boot", "low"),
    ),
    "refund": (
        ("our swap credit vanished from the pot", "high"),
        ("the {product} trade token came up short", "normal"),
    ),
    "idea": (
        ("our fire drill needs a strobe preset", "high"),
        ("a choir mode for the {product} would be fun", "low"),
    ),
}
CATEGORIES = tuple(COMMON)

MONTHS = ("January", "March", "April", "June", "July", "August", "October", "November")
GREETINGS = ("Hello!", "Hi!", "Good morning.", "Dear team!", "Hi there!", "Good evening.", "To the desk:", "")
WHEN = (
    "since Monday", "since Tuesday", "since Friday", "since last night", "this morning", "for {days} days now",
    "for {days} weeks", "again today", "after lunch", "since the {month} update", "once more", "as of {month}",
)  # fmt: skip
WISHED = (
    "before {month}", "by {month} if you can", "in {days} weeks or so", "this year", "some day",
    "before the next update", "as we said in {month}", "within {days} months",
)  # fmt: skip
"""In place of WHEN, for ideas."""
WHERE = (
    "at our second site", "in the main office", "in the new shop", "in {city}", "at the {city} branch",
    "in our {city} shop", "on floor {days}", "in the lobby", "at the school in {city}", "in meeting room {days}",
    "at home",
)  # fmt: skip
PLAN_TEXTS = (
    "We are on the {plan} plan.", "I use the {plan} plan.", "Our company has the {plan} plan.", "My plan is {plan}.",
    "The account is on {plan}.", "We signed up for {plan} in {month}.", "You have us down as {plan}.",
    "Our {count} lamps run on the {plan} plan.",
)  # fmt: skip
CLOSINGS = (
    "Thank you, {name}", "Best wishes, {name}", "Regards, {name}", "Please help.", "Can you look into it?",
    "Waiting for your answer.", "Yours, {name}", "Call {name} if you need more.", "Thanks a lot.", "",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ticket:
    """One message to the support desk."""

    text: str
    category: str
    severity: str
    """How grave the issue is on its own: what anybody would answer."""
    plan: str
    house: bool
    """Whether the issue is told in a house phrase."""

    @property
    def priority(self) -> str:
        """The house rule: enterprise is always high, the free plan never is, else the severity."""
        if self.plan == "enterprise":
            return "high"
        return "normal" if self.plan == "free" and self.severity == "high" else self.severity

    @property
    def target(self) -> dict[str, str]:
        return {"category": self.category, "priority": self.priority}


def ticket(rng: random.Random, *, house: bool) -> Ticket:
    """A ticket about a common or a house phrase, in one of two orders of its sentences."""
    category = rng.choice(CATEGORIES)
    issue, severity = rng.choice((HOUSE if house else COMMON)[category])
    plan = rng.choice(PLANS)
    slots = {
        "product": rng.choice(PRODUCTS), "month": rng.choice(MONTHS), "name": rng.choice(NAMES),
        "plan": plan, "count": str(rng.randrange(11, 99)), "days": str(rng.randrange(2, 10)),
        "city": rng.choice(list(CAPITALS.values())),
    }  # fmt: skip
    when = rng.choice(WISHED if category == "idea" else WHEN)
    what = sentence(f"{issue} {when} {rng.choice(WHERE)}")
    middle = [what, rng.choice(PLAN_TEXTS)]
    rng.shuffle(middle)
    parts = [rng.choice(GREETINGS), *middle, rng.choice(CLOSINGS)]
    text = " ".join(part for part in parts if part).format(**slots)
    return Ticket(text, category, severity, plan, house)


def sentence(text: str) -> str:
    """First letter upper case, a full stop at the end."""
    text = text.strip()
    return f"{text[0].upper()}{text[1:]}."


THINGS = ("lamp", "bulb", "cable", "box", "switch", "stand", "shade", "remote", "manual", "plug", "dimmer", "clip")
BOUGHT = (
    "I bought the {product} in {month}.", "We got the {product} last week.", "My {product} came on Monday.",
    "{name} gave me the {product}.", "The {product} is in our office now.", "We tried the {product} for a month.",
)  # fmt: skip
PRAISE = ("I would buy it again.", "We are very happy with it.", "I can only recommend it.", "It was worth the money.")
BLAME = ("I would not buy it again.", "We are not happy with it.", "I cannot recommend it.", "It was a waste of money.")


def review(rng: random.Random) -> tuple[str, str]:
    """A product review of two or three sentences, and `positive` or `negative`."""
    good = rng.random() < 0.5
    one, two = rng.sample(THINGS, 2)
    first, second = rng.sample(GOOD_WORDS if good else BAD_WORDS, 2)
    opinion = f"The {one} is {first} and the {two} {rng.choice(('is', 'looks', 'feels'))} {second}."
    parts = [rng.choice(BOUGHT), opinion, rng.choice((*(PRAISE if good else BLAME), ""))]
    slots = {"product": rng.choice(PRODUCTS), "month": rng.choice(MONTHS), "name": rng.choice(NAMES)}
    return " ".join(part for part in parts if part).format(**slots), "positive" if good else "negative"


def policies() -> list[str]:
    """What the handbook says: the plans in words, and one line for each category. The house rule shows only in part."""
    lines = [
        "Handbook: enterprise accounts have a contract with a short answer time.",
        "Handbook: pro accounts are served in the order of how grave the issue is.",
        "Handbook: free accounts are served when the desk has time.",
        "Handbook: a lamp that is a danger to people comes first.",
        "Handbook: be kind, be short, and sign with your name.",
    ]
    for category in CATEGORIES:
        phrases = [phrase for phrase, _ in (*COMMON[category][:2], *HOUSE[category][:1])]
        for phrase in phrases:
            clean = phrase.format(product="lamp", month="last month")
            lines.append(f"Handbook: mails like {json.dumps(clean)} are {category}.")
    return lines
