"""The public dumps of StackExchange sites: Posts.xml, a line `<row .../>` a post, and Users.xml beside it for names.

A question (PostTypeId 1) gets its best answer (PostTypeId 2, ParentId) by the score of the preferences dataset, so both
ways to these sites agree. Dumps are large and their answers are far from their questions: posts wait in a database on
disk. Every line is parsed alone, so a broken one costs itself; entities are not expanded.
"""

import math
import re
import sqlite3
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from html import escape
from pathlib import Path

from helptune.data.sources.messages import conversation_of
from helptune.data.sources.record import MALFORMED, Read, Rejected, Row
from helptune.data.sources.rows import bounded_lines
from helptune.data.sources.stackexchange import helpfulness, record
from helptune.errors import DataError

_ROW = re.compile(rb"^\s*<row\s")
_FRAME = re.compile(rb"^\s*(?:<\?xml.*\?>|</?posts>|</?users>)?\s*$")
_LICENSE = re.compile(r"CC BY-SA [0-9.]+")
_TABLE = """CREATE TABLE posts (
    id INTEGER PRIMARY KEY, parent INTEGER, accepted INTEGER, line INTEGER, votes INTEGER, user INTEGER,
    display TEXT, body TEXT, title TEXT, license TEXT
)"""
_QUESTIONS = "SELECT id, accepted, line, body, title FROM posts WHERE parent IS NULL ORDER BY line"
_ANSWERS = "SELECT id, votes, user, display, body, license FROM posts WHERE parent = ? ORDER BY id"
_ORPHANS = """SELECT line, parent FROM posts WHERE parent IS NOT NULL
    AND parent NOT IN (SELECT id FROM posts WHERE parent IS NULL) ORDER BY line"""
_LARGEST = 2**62
"""Of a number that the database holds."""


def pm_score(votes: int, accepted: bool) -> int:
    """After Askell et al. 2021: -1 for negative votes, else round(log2(1 + votes)), and one more if accepted."""
    return -1 if votes < 0 else round(math.log2(1 + votes)) + accepted


def read(path: Path, *, site: str = "", min_score: int = 2, name: str = "") -> Iterator[Read]:
    """Questions of a Posts.xml, or of the folder that holds it, with their best answers, in order of the questions.

    `site` is the address that links begin with, such as `https://stackoverflow.com`; without it they are not made.
    Not taken: `other_post` (tag wikis and the like), `no_answer`, `no_question`,
    `low_score`. Raises DataError when there is no file.
    """
    posts = path / "Posts.xml" if path.is_dir() else path
    if not posts.is_file():
        raise DataError(f"{posts}: there is no such file; give a Posts.xml, or the folder that holds it")
    name = name or str(posts)
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite3.connect(Path(folder) / "posts.sqlite")
        try:
            database.execute("PRAGMA synchronous = OFF")
            database.execute(_TABLE)
            yield from _store(posts, name, database)
            yield from _join(database, name, site.rstrip("/"), min_score, _names(posts.with_name("Users.xml")))
        finally:
            database.close()


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str] | str]]:
    """(line, attributes), or (line, what is wrong with it)."""
    with path.open("rb") as file:
        for number, line in enumerate(bounded_lines(file), start=1):
            if line is None:
                yield number, "too long for a line of such a file"
            elif _ROW.match(line):
                try:
                    yield number, dict(ElementTree.fromstring(line).attrib)
                except (ElementTree.ParseError, ValueError, LookupError) as error:
                    yield number, f"not valid XML ({error})"
            elif not _FRAME.match(line.removeprefix(b"\xef\xbb\xbf")):
                yield number, f"expected <row .../>, found {line[:60]!r}"


def _store(path: Path, name: str, database: sqlite3.Connection) -> Iterator[Rejected]:
    for line, row in _rows(path):
        if isinstance(row, str):
            yield Rejected(name, line, MALFORMED, row)
            continue
        numbers = {key: _number(row.get(key)) for key in ("Id", "ParentId", "AcceptedAnswerId", "Score", "OwnerUserId")}
        kind = row.get("PostTypeId")
        if kind not in ("1", "2"):
            yield Rejected(name, line, "other_post", f"PostTypeId is {kind!r:.20}: neither question nor answer")
        elif fault := _fault(row, kind, numbers):
            yield Rejected(name, line, MALFORMED, fault)
        else:
            parent = numbers["ParentId"] if kind == "2" else None
            values = (
                numbers["Id"],
                parent,
                numbers["AcceptedAnswerId"],
                line,
                numbers["Score"],
                numbers["OwnerUserId"],
            )
            texts = (row.get("OwnerDisplayName", ""), row["Body"], row.get("Title", ""), row.get("ContentLicense", ""))
            try:
                database.execute("INSERT INTO posts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, *texts))
            except sqlite3.IntegrityError:
                yield Rejected(name, line, MALFORMED, f"Id {numbers['Id']} came before")


def _fault(row: dict[str, str], kind: str, numbers: dict[str, int | None]) -> str:
    needed = ("Id", "Score", *(("ParentId",) if kind == "2" else ()))
    if missing := next((key for key in needed if numbers[key] is None), ""):
        return f"attribute {missing!r} must be a whole number, found {row.get(missing)!r:.40}"
    return "" if row.get("Body") else "attribute 'Body' is missing or empty"


def _number(text: str | None) -> int | None:
    number = int(text) if text and re.fullmatch(r"-?[0-9]{1,19}", text) else None
    return number if number is not None and abs(number) < _LARGEST else None


def _join(database: sqlite3.Connection, name: str, site: str, min_score: int, names: dict[int, str]) -> Iterator[Read]:
    database.execute("CREATE INDEX by_parent ON posts (parent)")
    for line, parent in database.execute(_ORPHANS):
        yield Rejected(name, line, "no_question", f"an answer to question {parent}, which is not there")
    for id, accepted, line, body, title in database.execute(_QUESTIONS):
        answers = database.execute(_ANSWERS, (id,)).fetchall()
        if not answers:
            yield Rejected(name, line, "no_answer", f"question {id} has no answer")
            continue
        best = max(answers, key=lambda a: (pm_score(a[1], a[0] == accepted), a[0] == accepted, -a[0]))
        score = pm_score(best[1], best[0] == accepted)
        if score < min_score:
            yield Rejected(name, line, "low_score", f"the best answer of question {id} has score {score}")
            continue
        ratings = {
            "helpfulness": helpfulness(score),
            "stackexchange": {"pm_score": score, "accepted": best[0] == accepted, "votes": best[1]},
        }
        user = best[2]
        meta = {
            "url": f"{site}/questions/{id}" if site else "",
            "author": names.get(user, "") or best[3] or (f"user {user}" if user is not None else "unknown"),
            "author_url": f"{site}/users/{user}" if site and user is not None else "",
            "lang": "en",
        }
        question = f"<p><b>{escape(title)}</b></p>{body}" if title else body
        made = record(f"{site.split('//')[-1] or 'post'}-{id}", question, best[4], ratings, meta)
        if found := _LICENSE.search(best[5]):
            made["license"] = found[0].replace(" ", "-")
        yield conversation_of(Row(name, line, {}), made)


def _names(path: Path) -> dict[int, str]:
    """Display names by user id; none where there is no Users.xml."""
    if not path.is_file():
        return {}
    rows = (row for _, row in _rows(path) if isinstance(row, dict))
    return {id: row.get("DisplayName", "") for row in rows if (id := _number(row.get("Id"))) is not None}
