"""The cost gate: what a call of the candidate takes, in tokens, against a prompt that does without it. Pure.

A fine-tune that needs no shots and no passages is cheaper to call than the prompt that it replaces. Tokens of prompt
and answer are counted on the same examples on both sides, in one tokenizer. The ratio is that of the sums, so that it
is the ratio of two bills. It is counted exactly and nothing is tested: it speaks of these examples alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from pytest_ftgate.gates.given import WORST, GateInput, error_verdict, unanswered
from pytest_ftgate.gates.paired import references_of
from pytest_ftgate.results import Generation, Verdict


@dataclass(frozen=True, slots=True)
class Tokens:
    """What one system took for all examples, or for one."""

    prompt: int
    new: int

    @property
    def total(self) -> int:
        """Prompt and answer."""
        return self.prompt + self.new


def judge_cost(given: GateInput) -> Verdict:
    """PASS where the candidate takes at most `max_ratio` times the tokens of the rung, FAIL where it takes more.

    ERROR where an answer is missing, where the sides have two tokenizers, and where an engine does not count.
    """
    names = references_of(given)
    if len(names) != 1:
        summary = f"the eval set has no rung {given.gate.options.get('of')!r} to compare with"
        return error_verdict(given.name, given.gate.kind, summary, "name a rung of baselines", reason="NO_REFERENCE")
    if lost := unanswered(given, ["candidate", *names]):
        return lost
    if given.engine.get("own_tokenizer") is True:
        summary = "the candidate has another tokenizer than the base, so that their tokens are not of one size"
        fix = "compare the two outside of this gate, by price or by characters"
        return error_verdict(given.name, given.gate.kind, summary, fix, reason="TOKENIZER")
    ids = [example.id for example in given.evalset.examples]
    each = {name: [_tokens(given.answers[name][id_]) for id_ in ids] for name in ("candidate", *names)}
    uncounted = sum(one is None for tokens in each.values() for one in tokens)
    if uncounted or not ids:
        summary = f"the engine did not count the tokens of {uncounted} of {len(ids) * len(each)} prompts and answers"
        fix = "judge with an engine that sets prompt_tokens and new_tokens, or leave this gate out"
        return error_verdict(given.name, given.gate.kind, summary, fix, reason="TOKENS", n=len(ids))
    counted = {name: [one for one in tokens if one is not None] for name, tokens in each.items()}
    return _verdict(given, ids, counted["candidate"], counted[names[0]], names[0])


def _verdict(given: GateInput, ids: list[str], ours: list[Tokens], theirs: list[Tokens], name: str) -> Verdict:
    total, other = _sum(ours), _sum(theirs)
    bound = given.gate.bound
    # As written: the float next to 0.29 times 100 is a little less than 29.
    passes = Fraction(total.total, other.total) <= Fraction(repr(bound))
    ratio = total.total / other.total
    summary = (
        f"{total.total:,} tokens against {other.total:,} of {name} on {len(ids)} examples: {ratio:.4g} times as many "
        f"(prompts {total.prompt:,} against {other.prompt:,}, answers {total.new:,} against {other.new:,}); at most "
        f"{bound:g} times allowed; counted on these examples, not estimated for others"
    )
    fix = "shorten the prompt, train for shorter answers, or lower generation.max_new_tokens"
    share = {id_: Fraction(a.total, b.total) for id_, a, b in zip(ids, ours, theirs, strict=True)}
    worst = [id_ for id_ in sorted(ids, key=lambda id_: -share[id_]) if share[id_] > Fraction(repr(bound))]
    return Verdict(
        gate=given.name,
        kind=given.gate.kind,
        outcome="PASS" if passes else "FAIL",
        summary=summary,
        fix="" if passes else fix,
        n=len(ids),
        value=ratio,
        interval=None,
        bound=bound,
        p_value=None,
        worst=() if passes else tuple(worst[:WORST]),
        details={
            "method": "counted tokens",
            "reference": name,
            "tokens": {
                "candidate": {"prompt": total.prompt, "new": total.new},
                name: {"prompt": other.prompt, "new": other.new},
            },
        },
    )


def _tokens(answer: Generation) -> Tokens | None:
    """None where they were not counted: a prompt has at least one token."""
    if not answer.prompt_tokens or answer.new_tokens is None:
        return None
    return Tokens(answer.prompt_tokens, answer.new_tokens)


def _sum(tokens: list[Tokens]) -> Tokens:
    return Tokens(sum(one.prompt for one in tokens), sum(one.new for one in tokens))
