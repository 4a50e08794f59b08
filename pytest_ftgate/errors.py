"""Errors that stop a judgement. None is a wrong answer: a gate that meets one reports ERROR, never PASS or FAIL.

    FtgateError        could not judge; carries what happened and what to do
      +- EngineError     a model could not be loaded or did not generate
      +- FolderError     the folder that the processes of one run share cannot be written or read
      +- IdentityError   it cannot be proved which model is judged, or that the base is the base
           +- UnknownTraining   it is not known what the candidate was trained on
      +- PolicyError     what the run is held to cannot be read, or cannot hold
      +- PromptError     a rung's prompt cannot be built without leaking the evaluated example
      +- ScoringError    an answer could not be turned into a Score or a FormatCheck
      +- UnknownGateKind a gate is of a kind that has no row in evalset/kinds.py

Mistakes in files that a user wrote are `pytest_ftgate.files.problems.InputError` instead.
"""

from __future__ import annotations


class Unusable(Exception):
    """The options or the files they name cannot be used; the message says what to change."""


class FtgateError(Exception):
    """Could not judge. `str()` is one line: the message, then the fix where there is one.

    Neither part may hold text of a model or a data set other than as a short, escaped excerpt.
    """

    def __init__(self, message: str, fix: str = "") -> None:
        self.message = message
        self.fix = fix
        super().__init__(f"{message}. Fix: {fix}" if fix else message)


class EngineError(FtgateError):
    """A model could not be loaded, or did not generate."""


class FolderError(FtgateError):
    """The folder that the processes of one run share cannot be written or read: it is full, limited or gone."""


class IdentityError(FtgateError):
    """What is being judged could not be proved: weights not applied, another base, files changed underneath."""


class UnknownTraining(IdentityError):
    """It is not known what the candidate was trained on: nothing says so."""


class PolicyError(FtgateError):
    """What the run is held to cannot be read (two policies, no such git ref), or the base is not the pinned one."""


class PromptError(FtgateError):
    """A prompt could not be built: too few shots or passages are left, or they hold no text to search in."""


class ScoringError(FtgateError):
    """An answer could not be judged: nothing was generated, no usable reference, a scorer function that failed."""


BY_NAME = {
    kind.__name__: kind
    for kind in (
        *(FtgateError, EngineError, FolderError, IdentityError, UnknownTraining, PolicyError, PromptError),
        ScoringError,
    )
}
"""Name -> class, for what one process tells another: the name is the reason that a gate gives."""


class UnknownGateKind(FtgateError):
    """A gate is of a kind that has no row in the table of kinds: nothing says how to judge it."""
