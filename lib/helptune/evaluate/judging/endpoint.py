"""A judge behind an OpenAI-compatible chat endpoint: a hosted model, or one that vLLM, llama.cpp or Ollama serves.

Where it lives and which model it is come from the command line, the key from the environment: it is sent to that one
address, and stands in no file, message or repr. Requests and answers of the models are sent there as well. What the
server answers decides nothing before `rubric.parse` read it.
"""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message as Headers
from http.client import HTTPException
from typing import Any

from helptune.errors import SettingError
from helptune.evaluate.judging.judge import Question, Verdict, hash_of
from helptune.evaluate.judging.rubric import JSON_REPLY, RUBRIC, kept, parse, prompt_text
from helptune.http import OPENER, failure, read_body, url_parts

KEY = "OPENAI_API_KEY"
ANSWER_BYTES = 2**20
"""Of an answer, at most."""
_OPTIONS: Mapping[str, Any] = {"temperature": 0, "max_tokens": 512, "seed": 0}
_OURS = ("model", "messages", "stream", "n")
_BACKOFF, _LONGEST_WAIT = 0.5, 60.0
"""Seconds before a request is repeated: doubled each time, or as many as the server asks for, up to a minute."""
_HOPELESS = (301, 302, 303, 307, 308, 401, 403, 404, 405)
"""No other question would be answered either: the address, the key or the name of the model is wrong."""
_LOCAL = ("localhost", "127.0.0.1", "::1")
_SHORT_KEY, _WORDS = 8, 4 * 1024


@dataclass(frozen=True)
class Endpoint:
    """POSTs to `url`/chat/completions. Made by `endpoint`, which checks what it is made of."""

    url: str
    model: str
    key: str = field(default="", repr=False)
    timeout: float = 60.0
    retries: int = 4
    workers: int = 4
    options: Mapping[str, Any] = field(default_factory=lambda: _OPTIONS, hash=False)
    at_once: int = 1

    @property
    def name(self) -> str:
        return self.model

    @property
    def version(self) -> str:
        return hash_of(self.url, self.model, self.options, RUBRIC, JSON_REPLY)

    def compare(self, questions: Sequence[Question]) -> list[Verdict]:
        """Raises SettingError where the server refuses the address, the key or the model."""
        return [self._compare(question) for question in questions]

    def _compare(self, question: Question) -> Verdict:
        messages = [{"role": "user", "content": prompt_text(question, JSON_REPLY)}]
        body = self._post({"model": self.model, "messages": messages, **self.options})
        if isinstance(body, Verdict):
            return body
        text = self._redacted(body.decode("utf-8", errors="replace"))
        try:
            choice = json.loads(text)["choices"][0]
            content, cut = choice["message"]["content"], choice.get("finish_reason") == "length"
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            return Verdict(None, "no verdict: the server's answer is no chat completion", kept(text))
        if not isinstance(content, str):
            return Verdict(None, "no verdict: the chat completion holds no text", kept(text))
        return parse(self._redacted(content), cut)

    def _post(self, question: dict[str, Any]) -> bytes | Verdict:
        """The body, or the verdict that there is none. What may pass is tried again."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        data, url = json.dumps(question).encode(), f"{self.url}/chat/completions"
        why = ""
        for attempt in range(self.retries + 1):
            wait = _BACKOFF * 2**attempt
            try:
                request = urllib.request.Request(url, data, headers, method="POST")
                with OPENER.open(request, timeout=self.timeout) as response:
                    body = read_body(response, ANSWER_BYTES, self.timeout)
                too_long = Verdict(None, f"no verdict: the answer is longer than {ANSWER_BYTES} bytes")
                return body if len(body) <= ANSWER_BYTES else too_long
            except urllib.error.HTTPError as error:
                why = f"answers {error.code} {self._told(error)}"
                if error.code in _HOPELESS:
                    raise SettingError(
                        f"{url}: {why}; check the address of the judge, the name of its model and its key"
                    ) from None
                if error.code < 500 and error.code not in (408, 429):
                    return Verdict(None, f"no verdict: {url} {why}")
                wait = _asked_to_wait(error.headers, wait)
            except (OSError, HTTPException, ValueError) as error:
                why = self._redacted(failure(error, self.timeout))
            if attempt < self.retries:
                time.sleep(wait)
        return Verdict(None, f"no answer: {url} {why}", silent=True)

    def _told(self, error: urllib.error.HTTPError) -> str:
        """The server's own words for an error, which often say what to do."""
        try:
            said = read_body(error, _WORDS, self.timeout).decode("utf-8", errors="replace")
        except (OSError, HTTPException, ValueError):
            said = ""
        return kept(self._redacted(f"{error.reason} {said}"))[:300].strip()

    def _redacted(self, text: str) -> str:
        """A server may echo the key. A very short one is no secret ("EMPTY"), and would be found in any text."""
        return text.replace(self.key, "[key]") if len(self.key) >= _SHORT_KEY else text


def endpoint(
    url: str,
    model: str,
    *,
    key_variable: str = KEY,
    timeout: float = 60.0,
    retries: int = 4,
    workers: int = 4,
    options: Mapping[str, Any] | None = None,
) -> Endpoint:
    """The judge `model` behind a base URL such as http://127.0.0.1:8000/v1.

    The key is the value of the environment variable `key_variable`; "" or an unset variable sends none, as local
    servers need none. `options` are fields of the request that take the place of temperature 0, max_tokens 512 and
    seed 0; one that is None is left out, for models that refuse it.

    Raises SettingError for anything but an http(s) URL without a password, for a key that is none, for one that would
    leave this machine unencrypted, and for options that are not the user's to set. The key itself is in no message.
    """
    parts = url_parts(url)
    if parts is None:
        raise SettingError(f"{url!r}: not the base URL of a judge; give https://HOST/v1 or http://127.0.0.1:PORT/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SettingError(
            "the URL of a judge cannot hold a password, a query or a fragment: it is written beside its votes; name "
            "the environment variable that holds the key instead"
        )
    if not model.strip():
        raise SettingError(f"{url}: name the model that judges")
    key = os.environ.get(key_variable, "").strip() if key_variable else ""
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise SettingError(f"${key_variable}: holds no key: a key is one word of plain characters")
    if key and parts.scheme == "http" and parts.hostname not in _LOCAL:
        raise SettingError(
            f"{url}: would get the key of ${key_variable} unencrypted; use https, or name no variable to send no key"
        )
    if timeout <= 0 or retries < 0 or workers < 1:
        raise SettingError(
            f"timeout {timeout} must be positive, retries {retries} not negative, workers {workers} >= 1"
        )
    chosen = dict(_OPTIONS) | dict(options or {})
    if taken := [name for name in chosen if name in _OURS]:
        raise SettingError(f"option {taken[0]!r} of the judge's request is not yours to set")
    chosen = {name: value for name, value in chosen.items() if value is not None}
    return Endpoint(url.rstrip("/"), model.strip(), key, timeout, retries, workers, chosen)


def _asked_to_wait(headers: Headers, otherwise: float) -> float:
    """Seconds of a Retry-After, which may also be a date; that is not read."""
    asked = headers.get("Retry-After", "")
    seconds = float(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 6 else otherwise
    return min(max(seconds, otherwise), _LONGEST_WAIT)
