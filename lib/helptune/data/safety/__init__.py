"""Is a text safe to learn from? One interface, two screens of our own, guard models, and anybody else's classifier."""

from helptune.data.safety.classifier import SafetyClassifier
from helptune.errors import SettingError

KINDS = "lexical, probe, shieldgemma:FOLDER, http(s)://HOST/PATH or python:package.module:attribute"


def find(spec: str) -> SafetyClassifier:
    """The classifier that a recipe or a command line names: one of KINDS.

    Raises SettingError for anything else, WeightsError for damaged weights, DataError for a mute server.
    """
    kind, _, rest = spec.partition(":")
    if spec == "lexical":
        from helptune.data.safety.lexical import load

        return load()
    if spec == "probe":
        from helptune.data.safety.probe import load_embedded

        return load_embedded()
    if kind == "shieldgemma" and rest:
        from helptune.data.safety.guard import load_guard

        return load_guard(rest)
    if kind in ("http", "https"):
        from helptune.data.safety.external import connect

        return connect(spec)
    if kind == "python" and rest:
        from helptune.data.safety.external import import_classifier

        return import_classifier(rest)
    raise SettingError(f"safety classifier {spec!r} is not one of {KINDS}")
