"""A conversation in the terminal: what it remembers, and what ends an answer but not the chat."""

import json

import pytest

from helptune import talk
from helptune.errors import ContextError


@pytest.fixture
def typed(monkeypatch):
    """typed(*lines): what the user enters, line by line."""

    def enter(*lines):
        waiting = iter(lines)
        monkeypatch.setattr("builtins.input", lambda prompt: next(waiting))

    return enter


def test_a_chat_remembers_until_an_empty_line(helptune, typed, monkeypatch):
    """Every answer goes back into the conversation; only --raw starts anew."""
    typed("Hello", "And?", "")
    heard = []

    def say(loaded, turns, sampling, *, raw, as_json):
        heard.append([t["content"] for t in turns])
        return f"answer {len(heard)}"

    monkeypatch.setattr(talk, "say", say)
    assert helptune("chat")[0] == 0
    assert heard == [["Hello"], ["Hello", "answer 1", "And?"]]


def test_ctrl_c_stops_an_answer_and_not_the_chat(helptune, typed, monkeypatch):
    """The question that was not answered is not part of the conversation."""
    typed("Hello", "Again", "")
    heard = []

    def say(loaded, turns, sampling, *, raw, as_json):
        heard.append([t["content"] for t in turns])
        if turns[-1]["content"] == "Hello":
            raise KeyboardInterrupt
        return "answer"

    monkeypatch.setattr(talk, "say", say)
    code, out, _ = helptune("chat")
    assert code == 0
    assert "stopped" in out
    assert heard == [["Hello"], ["Again"]]


def test_a_conversation_that_no_longer_fits_starts_anew(helptune, typed, monkeypatch):
    typed("Hello", "Long", "Again", "")
    heard = []

    def say(loaded, turns, sampling, *, raw, as_json):
        heard.append([t["content"] for t in turns])
        if "Long" in heard[-1]:
            raise ContextError("exceed the context")
        return "answer"

    monkeypatch.setattr(talk, "say", say)
    code, _, err = helptune("chat")
    assert code == 0
    assert err == "error: exceed the context\nwhat was said before is forgotten; ask again\n"
    assert heard == [["Hello"], ["Hello", "answer", "Long"], ["Again"]]


def test_a_bad_line_costs_only_itself(helptune, typed):
    typed("half a \udce9", "Hello", "")
    code, out, err = helptune("chat", "--json", "--max-new-tokens", 2)
    assert code == 0
    assert err.startswith("error: ")
    assert [set(json.loads(line)) for line in out.splitlines()] == [{"text", "ended", "tokens", "seconds"}]


def test_model_text_cannot_steer_the_terminal(helptune, monkeypatch):
    """ESC ] 0 ; would rename the window. As JSON the same text is escaped, and complete."""
    monkeypatch.setattr(talk, "stream_text", lambda *_: iter(["a\x1b]0;title\x07", "\tb\n"]))
    assert helptune("chat", "--prompt", "hi")[1] == "a\ufffd]0;title\ufffd\tb\n\n"


def test_a_greedy_answer_is_the_same_in_json_and_as_text(helptune):
    arguments = ["chat", "--prompt", "Hello", "--greedy", "--max-new-tokens", 3]
    code, out, _ = helptune(*arguments, "--json")
    answer = json.loads(out.splitlines()[-1])
    assert code == 0
    assert set(answer) == {"text", "ended", "tokens", "seconds"}
    assert helptune(*arguments)[1] == answer["text"] + "\n"
