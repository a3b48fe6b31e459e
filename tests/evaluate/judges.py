"""Judges and a server for tests: a chat endpoint on this machine that answers as it is told, however badly."""

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from helptune.data.conversation import Conversation, Message
from helptune.evaluate.answers import Answer
from helptune.evaluate.judging.judge import Question, Verdict

HONEY = "How do bees make honey?"


def conversation(id, prompt=HONEY, reference="They dry nectar in wax cells."):
    return Conversation(id, "test", "Apache-2.0", (Message("user", prompt), Message("assistant", reference)))


def answers(*texts):
    """Ids are a, b, c, ..."""
    return {chr(97 + i): Answer(chr(97 + i), text, True, len(text.split())) for i, text in enumerate(texts)}


def question(first, second, prompt=HONEY):
    return Question(conversation("a", prompt), Answer("a", first, True, 1), Answer("a", second, True, 1))


@dataclass
class Scripted:
    """Gives the verdict that `rule` finds for a question, and remembers what it was asked."""

    rule: object
    name: str = "scripted"
    version: str = "1"
    at_once: int = 1
    workers: int = 1
    asked: list = field(default_factory=list)

    def compare(self, questions):
        self.asked += [(q.conversation.id, q.first.text, q.second.text) for q in questions]
        return [self.rule(q) for q in questions]


def longer(question):
    first, second = len(question.first.text), len(question.second.text)
    return Verdict("tie" if first == second else "first" if first > second else "second", "by length")


def completion(content, **choice):
    """The body of a chat completion that says `content`."""
    return {"choices": [{"message": {"role": "assistant", "content": content}} | choice]}


def says(winner, reason="it is right"):
    return completion(json.dumps({"reason": reason, "winner": winner}))


@contextmanager
def chat_server(answer):
    """`answer(request, number)` gives (status, headers, body), the body a JSON object, or pieces of bytes to
    send one by one; yields the base URL and the list of (path, headers, request) so far.
    """
    asked, lock = [], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                asked.append((self.path, dict(self.headers), request))
                number = len(asked)
            status, headers, body = answer(request, number)
            pieces = [json.dumps(body).encode()] if isinstance(body, dict) else body
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                for piece in pieces:
                    self.wfile.write(piece)
            except OSError:
                pass  # the judge has hung up

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{http.server_port}/v1", asked
        finally:
            http.shutdown()
