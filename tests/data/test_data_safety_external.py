"""Somebody else's classifier is held to the interface: nothing but a score passes for one."""

import json
import socket
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import ModuleType

import pytest
from safety_texts import small_set

from helptune.data.safety import external, find
from helptune.data.safety.classifier import SafetyScore, Thresholds
from helptune.errors import DataError, SettingError

ABOUT = {"name": "theirs", "version": "3", "policy": "house rules", "thresholds": {"prompt": 0.4}}
CONVERSATIONS = [record.conversation() for record in small_set("dev")]


@contextmanager
def server(answer):
    """A classifier on this machine: `answer(question)` gives (status, body); yields its URL and the questions."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(question)
            status, body = answer(question)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            if status in (301, 307):
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{http.server_port}/score", asked
        finally:
            http.shutdown()


def by_length(question):
    scores = [{"p_unsafe": min(1, len(c["messages"][0]["content"]) / 100)} for c in question["conversations"]]
    return 200, ABOUT | {"scores": scores}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(external, "_BACKOFF", 0.0)


def test_it_is_asked_who_it_is_and_scores_in_order():
    with server(by_length) as (url, asked):
        theirs = find(url)
        scores = theirs.score(CONVERSATIONS, "response")
    assert (theirs.name, theirs.version, theirs.policy) == ("theirs", "3", "house rules")
    assert theirs.thresholds == Thresholds(prompt=0.4)
    assert [s.p_unsafe for s in scores] == [len(c.messages[0].content) / 100 for c in CONVERSATIONS]
    assert asked[0]["conversations"] == []
    assert asked[1]["target"] == "response"
    assert {s.model_hash for s in scores} == {"3"}


def test_requests_stay_small(monkeypatch):
    monkeypatch.setattr(external, "AT_ONCE", 5)
    monkeypatch.setattr(external, "REQUEST_BYTES", 400)
    with server(by_length) as (url, asked):
        scores = find(url).score(CONVERSATIONS)
    sent = [question["conversations"] for question in asked[1:]]
    assert len(scores) == len(CONVERSATIONS)
    assert [c["id"] for batch in sent for c in batch] == [c.id for c in CONVERSATIONS]
    assert all(len(batch) <= 5 and (len(batch) == 1 or len(json.dumps(batch)) <= 420) for batch in sent)


def test_a_busy_server_is_asked_again():
    answers = iter([(503, b""), (429, b""), (200, ABOUT | {"scores": []})])
    with server(lambda _: next(answers)) as (url, asked):
        assert find(url).name == "theirs"
    assert len(asked) == 3


@pytest.mark.parametrize(("status", "times"), [(404, 1), (401, 1), (500, 4), (307, 1)])
def test_an_error_of_the_server_is_named(status, times):
    """A request that is wrong is not repeated, and a redirect is not followed."""
    with server(lambda _: (status, b"")) as (url, asked), pytest.raises(DataError, match=f"answers {status}"):
        find(url)
    assert len(asked) == times


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ("many", "2 conversations were sent, the answer has no list"),
        ([{"p_unsafe": 0.5}], "2 conversations were sent, the answer has 1"),
        ([{"p_unsafe": 0.5}, {"p_unsafe": 1.5}], "'p_unsafe' must be a number from 0 to 1, found 1.5"),
        ([{"p_unsafe": 0.5}, {"p_unsafe": True}], "'p_unsafe'"),
        ([{"p_unsafe": 0.5}, {}], "'p_unsafe'"),
        ([{"p_unsafe": 0.5}, 0.5], "expected an object"),
        ([{"p_unsafe": 0.5}, {"p_unsafe": 0.5, "categories": {"crime": "yes"}}], "'categories'"),
        ([{"p_unsafe": 0.5}, {"p_unsafe": 0.5, "refusal": "no"}], "'refusal' must be true or false"),
    ],
)
def test_an_answer_that_is_no_score_names_the_conversation(scores, said):
    def answer(question):
        return 200, ABOUT | {"scores": scores if question["conversations"] else []}

    with server(answer) as (url, _):
        theirs = find(url)
        with pytest.raises(DataError) as error:
            theirs.score(CONVERSATIONS[:2])
    assert said in str(error.value)
    assert url in str(error.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "not JSON"),
        (b'{"p": NaN', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ([], "expected an object"),
        ({"name": "x"}, "'version' must be a non-empty text"),
        (ABOUT | {"thresholds": {"both": 1}}, "'thresholds'"),
        (ABOUT | {"thresholds": {"prompt": "low"}}, "'thresholds'"),
    ],
)
def test_a_server_that_is_no_classifier_is_refused_at_once(body, said):
    with server(lambda _: (200, body)) as (url, _), pytest.raises(DataError, match=said):
        find(url)


def test_an_endless_answer_is_cut_off(monkeypatch):
    monkeypatch.setattr(external, "ANSWER_BYTES", 1_000)
    with server(lambda _: (200, b" " * 5_000)) as (url, _), pytest.raises(DataError, match="more than"):
        find(url)


def test_a_server_that_changes_under_way_is_noticed():
    def answer(question):
        return 200, by_length(question)[1] | {"version": "4" if question["conversations"] else "3"}

    with server(answer) as (url, _):
        theirs = find(url)
        with pytest.raises(DataError, match="began as version '3' and answers as '4'"):
            theirs.score(CONVERSATIONS[:1])


@contextmanager
def listener(answer):
    """What listens on a port and says `answer`, or nothing, whatever it is asked; yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            with suppress(OSError):
                while True:
                    connection = listening.accept()[0]
                    if answer is None:
                        held.append(connection)
                    else:
                        connection.sendall(answer)
                        connection.shutdown(socket.SHUT_WR)
                        held.append(connection)

        held = []
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        listening.shutdown(socket.SHUT_RDWR)
        for connection in held:
            connection.close()


def test_a_server_that_is_not_there_is_named():
    with listener(b"") as url:
        pass
    with pytest.raises(DataError, match=f"{url}: cannot be reached .*refused"):
        external.connect(url, timeout=1, retries=1)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "no answer within 0.05 s"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "gives no answer in HTTP"),
    ],
)
def test_a_server_that_does_not_answer_is_told_from_one_that_answers_otherwise(answer, said):
    with listener(answer) as url, pytest.raises(DataError, match=f"{url}: {said}"):
        external.connect(url, timeout=0.05 if answer is None else 5, retries=1)


@pytest.mark.parametrize(
    "url",
    [
        "http:", "http://", "https:///path", "http://[::1", "http://localhost:99999/x", "http://localhost:x/",
        "http://exa mple/x", "http://localhost/\x01", "http://exämple.org/",
    ],
)  # fmt: skip
def test_a_url_needs_a_host_and_to_be_one(url):
    with pytest.raises(SettingError, match="not a URL of a classifier"):
        find(url)


def test_a_password_does_not_get_into_a_manifest():
    with pytest.raises(SettingError, match="password") as error:
        find("https://me:secret@example.org/")
    assert "secret" not in str(error.value)


class Fair:
    name, version, policy, thresholds = "fair", "1", "none", Thresholds()

    def score(self, conversations, target="prompt"):
        return [SafetyScore(0.25) for _ in conversations]


class Unfair(Fair):
    def score(self, conversations, target="prompt"):
        return [SafetyScore(2.0) for _ in conversations]


@pytest.fixture
def package(monkeypatch):
    """A package of the user's, as if it were installed."""
    module = ModuleType("their_rules")
    module.Fair, module.fair, module.make, module.unfair = Fair, Fair(), lambda: Fair(), Unfair()
    module.short = type("Short", (Fair,), {"score": lambda *_: []})
    module.nothing = lambda: object()
    monkeypatch.setitem(__import__("sys").modules, "their_rules", module)


@pytest.mark.parametrize("spec", ["their_rules:Fair", "their_rules:fair", "their_rules:make", "their_rules.fair"])
def test_a_python_classifier_is_an_object_or_what_makes_one(package, spec):
    theirs = find(f"python:{spec}")
    assert theirs.name == "fair"
    assert [s.p_unsafe for s in theirs.score(CONVERSATIONS[:2])] == [0.25, 0.25]


@pytest.mark.parametrize(("spec", "said"), [("unfair", "'p_unsafe'"), ("short", "expected a list of 2 scores")])
def test_a_python_classifier_is_checked_too(package, spec, said):
    with pytest.raises(DataError, match=said):
        find(f"python:their_rules:{spec}").score(CONVERSATIONS[:2])


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("their_rules:absent", "cannot be imported"),
        ("not_there:x", "cannot be imported"),
        ("their_rules:nothing", "is no SafetyClassifier"),
        ("os;rm:x", "name it as"),
        ("their_rules", "name it as"),
        ("their_rules:fair.score", "name it as"),
    ],
)
def test_a_name_that_is_no_classifier_is_an_error(package, spec, said):
    with pytest.raises(SettingError, match=said):
        find(f"python:{spec}")
