"""StackExchange questions with their best answers: the preferences dataset (HuggingFaceH4), CC BY-SA 4.0.

A row is {"qid", "question" (HTML), "answers": [{"text" (HTML), "pm_score", "selected", "answer_id", "author",
"author_id", "author_profile"}], "date", "metadata": [urls]}. The score, after Askell et al. 2021, is the rounded
log2(1 + upvotes), one more if the asker accepted the answer, and -1 for a negative sum of votes. The licence asks for
attribution: a link to the question, and the author's name and profile, which stay on every record.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from helptune.data.sources.html import to_markdown
from helptune.data.sources.messages import conversation_of
from helptune.data.sources.record import MALFORMED, Read, Rejected, Row

LICENSE = "CC-BY-SA-4.0"
HIGHEST = 6
"""A score at which an answer counts as helpfulness 1: 63 upvotes, or 31 and accepted."""
_TEXT = {"text": str, "author": str, "author_profile": str}
_NUMBER = {"pm_score": int, "answer_id": int}


def helpfulness(score: int) -> float:
    """In [0, 1]: 0 for -1 and 0, then in proportion to the score, which is logarithmic in the votes."""
    return min(max(score, 0), HIGHEST) / HIGHEST


def read(rows: Iterable[Row | Rejected], *, min_score: int = 2) -> Iterator[Read]:
    """The question and its best answer: the highest score, the accepted one among equals.

    Not taken: `low_score`, when no answer reaches `min_score` (2 is three upvotes, or one and accepted).
    """
    return (row if isinstance(row, Rejected) else _read(row, min_score) for row in rows)


def _read(row: Row, min_score: int) -> Read:
    if fault := _fault(row.value):
        return Rejected(row.file, row.line, MALFORMED, fault)
    best = max(row.value["answers"], key=lambda a: (a["pm_score"], bool(a.get("selected")), -a["answer_id"]))
    if best["pm_score"] < min_score:
        return Rejected(row.file, row.line, "low_score", f"the best answer has score {best['pm_score']}")
    urls = [url for url in row.value.get("metadata") or [] if isinstance(url, str)]
    meta = {
        "url": next((url for url in urls if "/questions/" in url), urls[0] if urls else ""),
        "author": best["author"],
        "author_url": best["author_profile"],
        "asker_url": next((url for url in urls if "/users/" in url), ""),
        "lang": "en",
    }
    ratings = {
        "helpfulness": helpfulness(best["pm_score"]),
        "stackexchange": {"pm_score": best["pm_score"], "accepted": bool(best.get("selected"))},
    }
    return conversation_of(row, record(f"{row.value['qid']}", row.value["question"], best["text"], ratings, meta))


def record(id: str, question: str, answer: str, ratings: dict[str, Any], meta: dict[str, Any]) -> dict[str, Any]:
    """The record of a question and an answer in HTML."""
    return {
        "id": f"stackexchange-{id}",
        "source": "stackexchange",
        "license": LICENSE,
        "messages": [
            {"role": "user", "content": to_markdown(question)},
            {"role": "assistant", "content": to_markdown(answer)},
        ],
        "ratings": ratings,
        "meta": meta,
    }


def _fault(value: dict[str, Any]) -> str:
    if not isinstance(value.get("question"), str):
        return f"field 'question' must be a text, found {value.get('question')!r:.80}"
    if not isinstance(value.get("qid"), (int, str)) or isinstance(value.get("qid"), bool):
        return f"field 'qid' must be a number, found {value.get('qid')!r:.80}"
    answers = value.get("answers")
    if not isinstance(answers, list) or not answers:
        return f"field 'answers' must be a non-empty list, found {answers!r:.80}"
    if not isinstance(value.get("metadata") or [], list):
        return f"field 'metadata' must be a list of URLs, found {value['metadata']!r:.80}"
    for number, answer in enumerate(answers):
        if not isinstance(answer, dict):
            return f"field 'answers[{number}]' must be an object, found {answer!r:.80}"
        for name, kind in (_TEXT | _NUMBER).items():
            if type(answer.get(name)) is not kind:
                return (
                    f"field 'answers[{number}].{name}' must be of type {kind.__name__}, found {answer.get(name)!r:.80}"
                )
    return ""
