"""The package's errors: each says what was found, where, and what to do about it."""


class RecsysError(Exception):
    """Base of every error that a user can act on; jobs print its message alone, without a traceback."""


class ConfigError(RecsysError):
    """Settings that are unknown, ill-typed or contradictory; all problems found are in one message."""


class DataError(RecsysError):
    """Input that cannot be used: missing, empty, of another kind than asked for, or too damaged."""


class NotPublishedError(DataError):
    """A step's input has not been published (never run, or stopped half-way)."""


class EnvironmentProblem(RecsysError):
    """The machine or cluster lacks something the package needs (Java, Python, a package on executors)."""


class FitError(RecsysError):
    """A fit cannot go on: a singular row, a non-finite value, a refused checkpoint."""


class RefusedError(RecsysError):
    """A result that was made and is held back: the message says which gate stops it, and what goes on instead."""
