"""The ladder: scores of a prompted base, rung by rung, and one of four answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_ftgate import stats
from pytest_ftgate.gates.examples_needed import POWER, exact_percent
from pytest_ftgate.gates.measure import BETTING, Levels, Rate, compare, measure_rate
from pytest_ftgate.results import Comparison

Answer = Literal["PROMPT_ENOUGH", "KNOWLEDGE", "FINE_TUNE", "TOO_FEW"]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a rung must reach so that no fine-tune is needed."""

    score: float
    """Mean score in (0, 1)."""
    why: str
    """Where it comes from: `accuracy.min`, ..."""
    follows: float | None = None
    """Share of answers that must obey the format; None where no gate asks."""


@dataclass(frozen=True, slots=True)
class Climbed:
    """What one rung did, example by example."""

    name: str
    retrieves: bool
    scores: Sequence[float]
    """In [0, 1], in the order of the examples."""
    follows: Sequence[bool] | None
    """Whether each answer obeys the format; None where no gate asks."""
    prompt_tokens: float
    """Mean of a call."""
    new_tokens: float
    """Mean of a call."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One rung, measured."""

    name: str
    retrieves: bool
    rate: Rate
    """Scores against the goal."""
    follows: Rate | None
    """Answers that obey the format, against its floor."""
    prompt_tokens: float
    new_tokens: float

    def reaches(self, alpha: float) -> bool:
        """Whether it is certified to reach the goal, format included."""
        return self.rate.p_good <= alpha and (self.follows is None or self.follows.p_good <= alpha)

    def falls_short(self, alpha: float) -> bool:
        """Whether it is proven to miss the goal, in score or in format."""
        if self.follows is None:
            return self.rate.p_bad <= alpha
        # Either of two things proves it: each may err half as often.
        return min(self.rate.p_bad, self.follows.p_bad) <= alpha / 2


@dataclass(frozen=True, slots=True)
class Assessment:
    """The ladder of one eval set, and what it says."""

    answer: Answer
    sentence: str
    rungs: tuple[Rung, ...]
    """Best first."""
    goal: Goal
    gain: Comparison | None
    """The best retrieving rung against the best of the others, paired; None where only one kind was asked."""
    needed: int | None
    """TOO_FEW: about how many units would tell; None where no number would, and for the other answers."""


def assess(
    climbed: Sequence[Climbed],
    clusters: Sequence[str | None],
    goal: Goal,
    *,
    alpha: float = 0.05,
    unit: str = "examples",
) -> Assessment:
    """One of four answers, each wrong with probability at most alpha whatever the truth.

    "A prompt is enough" says it of the best of R rungs, a union: each is tested at alpha / R. "A gap is left" says it
    of all of them, an intersection: each is tested at alpha.
    `clusters`: what each example is one observation of, None for itself. Raises ValueError where no rung is given.
    """
    if not climbed:
        raise ValueError("a ladder needs a rung")
    levels = Levels(alpha / len(climbed))
    rungs = sorted((_measured(c, clusters, goal, levels) for c in climbed), key=lambda r: r.rate.value, reverse=True)
    gain = _retrieval(climbed, clusters)
    reaching = [rung for rung in rungs if rung.reaches(levels.alpha)]
    needed = None
    answer: Answer
    if reaching:
        plain = [rung for rung in reaching if not rung.retrieves]
        answer, sentence = (
            ("PROMPT_ENOUGH", _enough(plain[0], goal)) if plain else ("KNOWLEDGE", _closes(reaching[0], goal))
        )
    elif all(rung.falls_short(alpha) for rung in rungs):
        answer, sentence = "FINE_TUNE", _gap(rungs[0], goal, gain, alpha)
    else:
        # The best of those that may reach the goal: it is what forbids to speak of a gap.
        open_rung = next(rung for rung in rungs if not rung.falls_short(alpha))
        open_ones = _undecided(open_rung, goal, levels.alpha)
        answer, needed = "TOO_FEW", _needed(open_ones, levels.alpha, alpha)
        sentence = _too_few(open_rung, open_ones[0], needed, unit)
    return Assessment(answer, sentence, tuple(rungs), goal, gain, needed)


def _measured(climbed: Climbed, clusters: Sequence[str | None], goal: Goal, levels: Levels) -> Rung:
    rate = measure_rate(list(climbed.scores), clusters, goal.score, levels)
    follows = None
    if climbed.follows is not None and goal.follows is not None:
        follows = measure_rate([float(f) for f in climbed.follows], clusters, goal.follows, levels)
    return Rung(climbed.name, climbed.retrieves, rate, follows, climbed.prompt_tokens, climbed.new_tokens)


def _retrieval(climbed: Sequence[Climbed], clusters: Sequence[str | None]) -> Comparison | None:
    with_passages = [c for c in climbed if c.retrieves]
    without = [c for c in climbed if not c.retrieves]
    if not with_passages or not without:
        return None
    ours, theirs = (max(found, key=lambda c: sum(c.scores)) for found in (with_passages, without))
    return compare(list(ours.scores), list(theirs.scores), clusters, name=theirs.name, delta0=0.0)


def _enough(rung: Rung, goal: Goal) -> str:
    return (
        f"a prompt is enough: {rung.name} scores {rung.rate.value:.1%} on the base model, certified to reach "
        f"{exact_percent(goal.score)} ({goal.why}){_format_too(rung)}"
    )


def _closes(rung: Rung, goal: Goal) -> str:
    return (
        f"this looks like missing knowledge: retrieval closes it. {rung.name} scores {rung.rate.value:.1%}, certified "
        f"to reach {exact_percent(goal.score)} ({goal.why}){_format_too(rung)}; no rung without passages does"
    )


def _format_too(rung: Rung) -> str:
    return f", and {rung.follows.value:.1%} of its answers obey the format" if rung.follows else ""


def _gap(best: Rung, goal: Goal, gain: Comparison | None, alpha: float) -> str:
    low, high = best.rate.interval
    rate, half = best.rate, 50.0 * (high - low)
    text = f"a behaviour gap of {100 * (goal.score - rate.value):.1f} ± {half:.1f} points is left: fine-tune. "
    if rate.value >= goal.score:
        text = "the answers are right but their format is not: fine-tune, or constrain the decoding. "
    text += f"The best prompt ({best.name}) scores {rate.value:.1%}; {exact_percent(goal.score)} is wanted ({goal.why})"
    if gain is not None and gain.p_good <= alpha:
        text += f"; passages bring {100 * gain.delta:+.1f} points over {gain.reference}: keep them in the tuned prompt"
    return text


@dataclass(frozen=True, slots=True)
class _Undecided:
    """One thing that a rung was neither certified to reach nor, on its own, proven to miss."""

    says: str
    """`scores 90.0%`, ..."""
    rate: Rate
    goal: float
    why: str
    """Where the goal comes from."""

    @property
    def supposed(self) -> float:
        """The rate to plan with: the measured one, but 0 and 100 % as half an example away from it, or no number
        would ever do; and on its side of the goal, however few examples there are."""
        half = 1.0 / (2 * self.rate.n)
        if self.rate.value > self.goal:
            return min(self.rate.value, max(1.0 - half, (1.0 + self.goal) / 2))
        return max(self.rate.value, min(half, self.goal / 2))


def _undecided(rung: Rung, goal: Goal, certain: float) -> list[_Undecided]:
    """Score, format or both; never empty for a rung that neither reaches the goal nor falls short of it."""
    asked = [_Undecided(f"scores {rung.rate.value:.1%}", rung.rate, goal.score, goal.why)]
    if rung.follows is not None and goal.follows is not None:
        says = f"obeys the format in {rung.follows.value:.1%} of its answers"
        asked.append(_Undecided(says, rung.follows, goal.follows, "format.min_rate"))
    return [one for one in asked if one.rate.p_good > certain]


def _needed(undecided: Sequence[_Undecided], certain: float, alpha: float) -> int | None:
    """Units for 80 % power to decide each, if its rate is what is supposed; None where no number would."""
    found = [_needed_for(one, certain, alpha) for one in undecided]
    numbers = [number for number in found if number is not None]
    return max(numbers) if len(numbers) == len(found) else None


def _needed_for(one: _Undecided, certain: float, alpha: float) -> int | None:
    rate, goal, supposed = one.rate, one.goal, one.supposed
    if rate.method == BETTING:
        return None
    if supposed > goal:
        found = stats.examples_for_floor_power(p0=goal, rate=supposed, alpha=certain, power=POWER)
    else:
        found = stats.examples_for_floor_power(p0=1.0 - goal, rate=1.0 - supposed, alpha=alpha / 2, power=POWER)
    return found if found is not None and found > rate.n else None


def _too_few(rung: Rung, one: _Undecided, needed: int | None, unit: str) -> str:
    low, high = one.rate.interval
    text = (
        f"the eval set is too small to say: {rung.name} {one.says} (95% interval {low:.1%} to {high:.1%}) where "
        f"{exact_percent(one.goal)} is wanted ({one.why}); "
    )
    if needed is None:
        return text + "it lies so close that more examples alone are unlikely to tell"
    return text + (
        f"{needed - one.rate.n} more {unit} would tell, with {POWER:.0%} chance, if its true rate is {one.supposed:.1%}"
    )
