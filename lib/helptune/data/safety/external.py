"""Somebody else's classifier: behind a URL, or a Python object, both named by the user and held to the interface.

Stage 1 may bring its own safety classifier. It answers over HTTP, in JSON, so it needs neither our language nor our
process; or it is an attribute of an importable package. Where it lives is taken from the command line or a recipe,
never from data, and what it answers is checked before it decides anything.
"""

import importlib
import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from http.client import HTTPException
from typing import Any

from helptune.data.conversation import Conversation
from helptune.data.safety.classifier import SafetyClassifier, SafetyScore, Thresholds, check_target
from helptune.errors import DataError, SettingError
from helptune.http import OPENER, failure, read_body, url_parts

AT_ONCE, REQUEST_BYTES, ANSWER_BYTES = 64, 2**20, 4 * 2**20
"""Conversations and bytes of one request (a single longer conversation goes alone), and bytes of an answer, at most."""
_BACKOFF = 0.5


@dataclass(frozen=True)
class HttpClassifier:
    """POSTs `{"target", "conversations": [{"id", "messages"}]}` and reads

        {"name", "version", "policy", "thresholds": {"prompt", "response"},
         "scores": [{"p_unsafe", "categories", "refusal", "abstain"}]}

    with one score a conversation, in order; `categories`, `refusal`, `abstain` and `thresholds` may be left out.
    Redirects are not followed: only the URL the user named is asked.
    """

    url: str
    timeout: float = 30.0
    retries: int = 3
    about: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        return self.about["name"]

    @property
    def version(self) -> str:
        return self.about["version"]

    @property
    def policy(self) -> str:
        return self.about["policy"]

    @property
    def thresholds(self) -> Thresholds:
        return self.about["thresholds"]

    def score(self, conversations: Sequence[Conversation], target: str = "prompt") -> list[SafetyScore]:
        """Raises DataError where the server cannot be reached or gives no valid answer."""
        check_target(target)
        scores: list[SafetyScore] = []
        for batch in _requests(conversations):
            answer = self._post({"target": target, "conversations": batch})
            if (version := answer.get("version")) != self.version:
                raise DataError(
                    f"{self.url}: began as version {self.version!r} and answers as {version!r}; start again"
                )
            scores += _scores(answer.get("scores"), batch, self.url, self.version)
        return scores

    def _post(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer as a JSON object. What may pass (a busy server, a broken connection) is tried again."""
        data = json.dumps(question).encode()
        request = urllib.request.Request(self.url, data, {"Content-Type": "application/json"}, method="POST")
        for left in range(self.retries, -1, -1):
            try:
                with OPENER.open(request, timeout=self.timeout) as response:
                    body = read_body(response, ANSWER_BYTES, self.timeout)
                break
            except urllib.error.HTTPError as error:
                if (error.code < 500 and error.code != 429) or not left:
                    raise DataError(f"{self.url}: answers {error.code} {error.reason}") from error
            except (OSError, HTTPException, ValueError) as error:
                if not left:
                    raise DataError(f"{self.url}: {failure(error, self.timeout)}") from error
            time.sleep(_BACKOFF * 2 ** (self.retries - left))
        if len(body) > ANSWER_BYTES:
            raise DataError(f"{self.url}: answers with more than {ANSWER_BYTES >> 20} MiB")
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self.url}: the answer is not JSON ({error})") from error
        if not isinstance(answer, dict):
            raise DataError(f"{self.url}: the answer is a JSON {type(answer).__name__}, expected an object")
        return answer


def connect(url: str, timeout: float = 30.0, retries: int = 3) -> HttpClassifier:
    """The classifier behind `url`, asked once, with no conversations, who it is.

    Raises SettingError for anything but an http(s) URL without a password, DataError for a server that does not answer
    as `HttpClassifier` says.
    """
    parts = url_parts(url)
    if parts is None:
        raise SettingError(f"{url!r}: not a URL of a classifier; give http://HOST/PATH or https://HOST/PATH")
    if parts.username or parts.password:
        raise SettingError(
            "the URL of a classifier cannot hold a password: it is written into every dataset's manifest"
        )
    answer = HttpClassifier(url, timeout, retries)._post({"target": "prompt", "conversations": []})
    return HttpClassifier(url, timeout, retries, _about(answer, url))


def _requests(conversations: Sequence[Conversation]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for conversation in conversations:
        record = {"id": conversation.id, "messages": [asdict(message) for message in conversation.messages]}
        length = len(json.dumps(record))
        if batch and (len(batch) == AT_ONCE or size + length > REQUEST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += length
    if batch:
        yield batch


def _about(answer: Mapping[str, Any], where: str) -> dict[str, Any]:
    about: dict[str, Any] = {}
    for name in ("name", "version", "policy"):
        if not isinstance(value := answer.get(name), str) or not value.strip():
            raise DataError(f"{where}: field {name!r} must be a non-empty text, found {value!r}")
        about[name] = value
    given = answer.get("thresholds", {})
    if (
        not isinstance(given, dict)
        or not set(given) <= {"prompt", "response"}
        or not all(map(_is_number, given.values()))
    ):
        raise DataError(f"{where}: field 'thresholds' must be an object of 'prompt' and 'response', found {given!r}")
    return about | {"thresholds": Thresholds(**{target: float(value) for target, value in given.items()})}


def _scores(found: Any, batch: Sequence[Mapping[str, Any]], where: str, version: str) -> list[SafetyScore]:
    if not isinstance(found, list) or len(found) != len(batch):
        number = len(found) if isinstance(found, list) else "no list"
        raise DataError(f"{where}: {len(batch)} conversations were sent, the answer has {number} of 'scores'")
    return [_score(own, f"{where}: score of {sent['id']!r}", version) for own, sent in zip(found, batch, strict=True)]


def _score(found: Any, where: str, version: str) -> SafetyScore:
    if not isinstance(found, dict):
        raise DataError(f"{where}: expected an object, found {found!r}")
    p, categories = found.get("p_unsafe"), found.get("categories", {})
    flags = {name: found.get(name, False) for name in ("refusal", "abstain")}
    if not _is_probability(p):
        raise DataError(f"{where}: field 'p_unsafe' must be a number from 0 to 1, found {p!r}")
    if not isinstance(categories, dict) or not all(map(_is_probability, categories.values())):
        raise DataError(f"{where}: field 'categories' must map names to numbers from 0 to 1, found {categories!r}")
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise DataError(f"{where}: field {name!r} must be true or false, found {value!r}")
    return SafetyScore(
        float(p or 0), {name: float(value) for name, value in categories.items()}, **flags, model_hash=version
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_probability(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


@dataclass(frozen=True)
class Checked:
    """A classifier we did not write, whose answers are checked before they are used."""

    inner: SafetyClassifier
    where: str

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def version(self) -> str:
        return self.inner.version

    @property
    def policy(self) -> str:
        return self.inner.policy

    @property
    def thresholds(self) -> Thresholds:
        return self.inner.thresholds

    def score(self, conversations: Sequence[Conversation], target: str = "prompt") -> list[SafetyScore]:
        """Raises DataError for anything but one valid `SafetyScore` a conversation."""
        check_target(target)
        scores = self.inner.score(conversations, target)
        if not isinstance(scores, list) or len(scores) != len(conversations):
            raise DataError(
                f"{self.where}: gave {type(scores).__name__}, expected a list of {len(conversations)} scores"
            )
        for score, conversation in zip(scores, conversations, strict=True):
            where = f"{self.where}: score of {conversation.id!r}"
            if not isinstance(score, SafetyScore):
                raise DataError(f"{where}: expected a SafetyScore, found {type(score).__name__}")
            _score(asdict(score), where, "")
        return scores


def import_classifier(spec: str) -> Checked:
    """`package.module:attribute` (or with a dot for the colon): a classifier, or a class or function that makes one.

    This runs the code of that package: it is for the user's own configuration, never for a name found in data. Raises
    SettingError when there is no such attribute or it does not have the interface.
    """
    module, colon, attribute = spec.partition(":")
    if not colon:
        module, _, attribute = spec.rpartition(".")
    if not all(part.isidentifier() for part in [*module.split("."), attribute]):
        raise SettingError(f"python:{spec}: name it as python:package.module:attribute")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SettingError(f"python:{spec}: cannot be imported ({error})") from error
    made = found() if isinstance(found, type) or not hasattr(found, "score") else found
    if not isinstance(made, SafetyClassifier) or not isinstance(made.thresholds, Thresholds):
        needed = "name, version, policy, thresholds (a Thresholds) and score"
        raise SettingError(f"python:{spec}: is no SafetyClassifier: it needs {needed}")
    return Checked(made, f"python:{spec}")
