"""Questions and answers of Stack Exchange from the public dumps: `Posts.xml`, with `Users.xml` beside it for names.

`rows.py` gives the attributes of each `<row/>` (all strings). Questions and answers stand anywhere in the file, so they
are joined in a database on disk, one file at a time. The answer is chosen, and rated, as in `stackexchange.py`.
Columns: https://meta.stackexchange.com/questions/2677.
"""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from sqlite3 import Connection

from helptune.data.sources.build import reject
from helptune.data.sources.record import Read, Rejected, Row
from helptune.data.sources.rows import file_rows
from helptune.data.sources.scratch import scratch_database
from helptune.data.sources.stackexchange import build_answer, helpfulness, pm_score
from helptune.errors import DataError

_USERS = ("Users.xml", "Users.xml.gz")
_SITE = re.compile(r"(?:[a-z0-9-]+\.)+(?:com|net)")
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_LICENSE = re.compile(r"CC BY-SA ([234]\.[05])")
_KEPT = (
    "AcceptedAnswerId", "Body", "ContentLicense", "CreationDate", "OwnerDisplayName", "OwnerUserId", "Tags", "Title",
)  # fmt: skip
_SCHEMA = """
CREATE TABLE questions (id INTEGER PRIMARY KEY, line INTEGER, post TEXT);
CREATE TABLE answers (id INTEGER PRIMARY KEY, line INTEGER, post TEXT, question INTEGER, votes INTEGER);
CREATE INDEX by_question ON answers (question);
CREATE TABLE users (id TEXT PRIMARY KEY, name TEXT);
"""


def read(rows: Iterable[Row | Rejected], *, site: str = "", source: str = "stack-exchange") -> Iterator[Read]:
    """One Conversation or Rejected a question of each file, and a Rejected for other posts.

    `site` is the dump's site, such as `cooking.stackexchange.com`, for the links that attribution needs; where it is
    not given, the name of the folder must be one. Raises DataError where neither is.
    `ratings`: `helpfulness`, `pm_score`, `selected` (accepted) and `score` (votes).
    """
    if site and not _SITE.fullmatch(site):
        raise DataError(f"site {site!r} is no address such as cooking.stackexchange.com")
    return _dumps(rows, site, source)


def _dumps(rows: Iterable[Row | Rejected], site: str, source: str) -> Iterator[Read]:
    for file, group in groupby(rows, key=lambda row: row.file):
        with scratch_database(_SCHEMA) as database:
            yield from _dump(Path(file), group, site or _site_of(Path(file)), source, database)


def _site_of(file: Path) -> str:
    name = file.parent.name or file.absolute().parent.name
    if not _SITE.fullmatch(name):
        raise DataError(
            f"{file}: attribution needs the site's address; give it as the option `site` "
            "(cooking.stackexchange.com), or name the folder so"
        )
    return name


def users_beside(file: Path) -> Path | None:
    """The users of the dump that `file` is of, if they are there."""
    return next((users for name in _USERS if (users := file.with_name(name)).is_file()), None)


def _dump(file: Path, rows: Iterable[Row | Rejected], site: str, source: str, database: Connection) -> Iterator[Read]:
    for row in rows:
        problem = row if isinstance(row, Rejected) else _keep(row, database)
        if problem:
            yield problem
    users = users_beside(file)
    for row in file_rows(users) if users else ():
        if isinstance(row, Rejected):
            yield row
        else:
            named = (row.value.get("Id"), row.value.get("DisplayName"))
            database.execute("INSERT OR IGNORE INTO users VALUES (?, ?)", named)
    for id, line, post in database.execute("SELECT id, line, post FROM questions ORDER BY line"):
        yield _answered(Row(str(file), line, json.loads(post)), id, site, source, database)
    lost = "SELECT line, question FROM answers WHERE question NOT IN (SELECT id FROM questions) ORDER BY line"
    for line, question in database.execute(lost):
        yield reject(Row(str(file), line, {}), f"field 'ParentId': no question {question} in this file", "no_question")


def _keep(row: Row, database: Connection) -> Rejected | None:
    """Put one post into the database, or say why not."""
    post = row.value
    kind = post.get("PostTypeId")
    odd = next((name for name in _KEPT if not isinstance(post.get(name, ""), str)), None)
    if odd:
        return reject(row, f"field {odd!r} must be a text, found {post[odd]!r}")
    if kind not in ("1", "2"):
        return reject(row, f"post type {kind!r}: neither question nor answer", "post_type")
    for name in ("Id", "Score") if kind == "1" else ("Id", "Score", "ParentId"):
        if not _NUMBER.fullmatch(str(post.get(name))):
            return reject(row, f"field {name!r} must be a whole number, found {post.get(name)!r}")
    if "Body" not in post:
        return reject(row, "field 'Body' is missing")
    if license_of(post) is None:
        return reject(row, f"field 'ContentLicense': {post.get('ContentLicense')!r} is no licence we know", "license")
    values: tuple[int | str, ...] = (
        int(post["Id"]),
        row.line,
        json.dumps({name: post[name] for name in _KEPT if name in post}),
    )
    if kind == "1":
        added = database.execute("INSERT OR IGNORE INTO questions VALUES (?, ?, ?)", values)
    else:
        values += (int(post["ParentId"]), int(post["Score"]))
        added = database.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)", values)
    return None if added.rowcount else reject(row, f"field 'Id': {post['Id']} came before in this file")


def _answered(row: Row, id: int, site: str, source: str, database: Connection) -> Read:
    question = row.value
    answers = database.execute("SELECT id, votes FROM answers WHERE question = ?", (id,)).fetchall()
    if not answers:
        return reject(row, "nobody answered", "no_answer")
    accepted = question.get("AcceptedAnswerId")

    def standing(answer: tuple[int, int]) -> tuple[int, bool, int]:
        id, votes = answer
        return pm_score(votes, str(id) == accepted), str(id) == accepted, -id

    best, votes = max(answers, key=standing)
    score, selected, _ = standing((best, votes))
    answer = json.loads(database.execute("SELECT post FROM answers WHERE id = ?", (best,)).fetchone()[0])
    author, author_url = _author(answer, site, database)
    asker, asker_url = _author(question, site, database)
    return build_answer(
        row,
        id=f"{site}-{id}",
        source=source,
        license=license_of(answer),
        question=question["Body"],
        answer=answer["Body"],
        title=question.get("Title", ""),
        ratings={"helpfulness": helpfulness(score), "pm_score": score, "selected": selected, "score": votes},
        meta={
            "url": f"https://{site}/questions/{id}",
            "author": author,
            "author_url": author_url,
            "answer_id": best,
            "date": answer.get("CreationDate", ""),
            "asker": asker,
            "asker_url": asker_url,
            "asker_license": license_of(question),
            "tags": [tag for tag in re.split("[<>|]+", question.get("Tags", "")) if tag],
        },
    )


def license_of(post: dict[str, str]) -> str | None:
    """SPDX id of a post. Dumps without the column follow its date (https://stackoverflow.com/help/licensing)."""
    named = post.get("ContentLicense")
    if named:
        found = _LICENSE.fullmatch(named)
        return f"CC-BY-SA-{found.group(1)}" if found else None
    date = post.get("CreationDate", "")
    if not re.match(r"\d{4}-\d\d-\d\d", date):
        return None
    return "CC-BY-SA-2.5" if date < "2011-04-08" else "CC-BY-SA-3.0" if date < "2018-05-02" else "CC-BY-SA-4.0"


def _author(post: dict[str, str], site: str, database: Connection) -> tuple[str, str]:
    """Name and profile of who wrote a post; both may be empty, as accounts get deleted."""
    user, name = post.get("OwnerUserId", ""), post.get("OwnerDisplayName", "")
    if user and not name:
        found = database.execute("SELECT name FROM users WHERE id = ?", (user,)).fetchone()
        name = (found and found[0]) or ""
    return name, f"https://{site}/users/{user}" if _NUMBER.fullmatch(user) else ""
