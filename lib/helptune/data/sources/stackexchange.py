"""Questions and answers of Stack Exchange as rated by its people, from the hub's `stack-exchange-preferences`.

One conversation a question: the question, and the answer with the highest score after Askell et al. (2021). The texts
are CC BY-SA: attribution is owed, so every record carries the question's link and the author's name and profile, and
what is built from it may only be shared alike. `posts_xml` reads the same from the public dumps.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from helptune.data.sources.build import build, is_whole, reject
from helptune.data.sources.html import to_markdown
from helptune.data.sources.record import Read, Rejected, Row
from helptune.errors import DataError

_SATURATED = 4  # of pm_score: an answer with 11 votes, or with 6 and accepted, is as helpful as we can tell


def pm_score(votes: int, accepted: bool) -> int:
    """round(log2(1 + votes)), one more where the asker accepted the answer; -1 for votes below zero (Askell et al.)."""
    return -1 if votes < 0 else round(math.log2(1 + votes)) + accepted


def helpfulness(score: float) -> float:
    """A pm_score on our scale: 0 for none or negative, growing by a quarter to 1."""
    return min(max(score, 0), _SATURATED) / _SATURATED


def read(rows: Iterable[Row | Rejected], *, source: str = "stack-exchange-preferences") -> Iterator[Read]:
    """One Conversation or Rejected a question. `ratings`: `helpfulness`, the answer's `pm_score` and `selected`."""
    return (row if isinstance(row, Rejected) else _question(row, source) for row in rows)


def _question(row: Row, source: str) -> Read:
    qid, question, answers, date = (row.value.get(name) for name in ("qid", "question", "answers", "date"))
    if not is_whole(qid, 0) or not isinstance(question, str) or not isinstance(answers, list):
        return reject(row, "fields 'qid', 'question' and 'answers' must be a whole number, a string and a list")
    for answer in answers:
        if problem := _problem(answer):
            return reject(row, f"field 'answers': {problem}")
    if not answers:
        return reject(row, "nobody answered", "no_answer")
    links = row.value.get("metadata")
    links = [link for link in links if _is_link(link)] if isinstance(links, list) else []
    url = next((link for link in links if "/questions/" in link), None)
    if url is None:
        return reject(row, "field 'metadata' has no link to the question, and attribution is owed", "attribution")
    best = max(answers, key=lambda answer: (answer["pm_score"], answer["selected"], -answer["answer_id"]))
    score, profile = best["pm_score"], best.get("author_profile")
    return build_answer(
        row,
        id=f"{url.split('/')[2]}-{qid}",
        source=source,
        license="CC-BY-SA-4.0",
        question=question,
        answer=best["text"],
        ratings={"helpfulness": helpfulness(score), "pm_score": score, "selected": best["selected"]},
        meta={
            "url": url,
            "author": best["author"] if isinstance(best.get("author"), str) else "",
            "author_url": profile if _is_link(profile) else "",
            "answer_id": best["answer_id"],
            "date": date if isinstance(date, str) else "",
            "asker_url": next((link for link in links if "/users/" in link), ""),
        },
    )


def build_answer(row: Row, *, question: str, answer: str, title: str = "", **fields: Any) -> Read:
    """The conversation of an HTML question and answer; a title goes first."""
    try:
        asked, answered = to_markdown(question), to_markdown(answer)
    except DataError as error:
        return reject(row, str(error))
    prompt = "\n\n".join(part for part in (title.strip(), asked) if part)
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answered}]
    return build(row, messages=messages, **fields)


def _problem(answer: Any) -> str | None:
    if not isinstance(answer, dict):
        return f"an answer must be an object, found {answer!r}"
    if not isinstance(answer.get("text"), str):
        return f"'text' must be a string, found {answer.get('text')!r}"
    if not is_whole(answer.get("answer_id"), 0):
        return f"'answer_id' must be a whole number, found {answer.get('answer_id')!r}"
    if not is_whole(answer.get("pm_score"), -1):
        return f"'pm_score' must be a whole number from -1, found {answer.get('pm_score')!r}"
    if not isinstance(answer.get("selected"), bool):
        return f"'selected' must be true or false, found {answer.get('selected')!r}"
    return None


def _is_link(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("https://", "http://")) and value.isprintable()
