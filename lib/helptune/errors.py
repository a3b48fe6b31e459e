"""The errors a user can meet. Each message says what was wrong, where, and what to do."""


class HelptuneError(Exception):
    """Base class: the command line prints its message without a traceback."""


class SettingError(HelptuneError, ValueError):
    """An option or a field of a configuration has a value that cannot be used."""


class WeightsError(HelptuneError):
    """A weight file is truncated, altered, or belongs to another model."""


class DataError(HelptuneError):
    """A conversation file is malformed; the message names file, line and field."""


class ContextError(HelptuneError):
    """A text is longer than the context it has to fit."""


class AdapterError(HelptuneError):
    """An adapter does not fit: other base model, rank, sites, or a damaged file."""


class RunError(HelptuneError):
    """A run directory cannot be used as asked: other configuration, damaged, or disk full."""


class Interrupted(HelptuneError):
    """The user asked to stop; a checkpoint was written and the same command goes on from it."""
