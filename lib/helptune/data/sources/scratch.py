"""Joining what stands far apart in a file, in bounded memory: a private SQLite database on disk.

SQLite gives a database without a name a temporary file of its own, deleted when it is closed or its process dies
(https://sqlite.org/inmemorydb.html, "Temporary Databases"); only its page cache is in memory. $SQLITE_TMPDIR moves it.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def scratch_database(schema: str) -> Iterator[sqlite3.Connection]:
    """A new database with the tables of `schema`, gone afterwards."""
    database = sqlite3.connect("", isolation_level=None)
    try:
        database.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {schema}; BEGIN;")
        yield database
    finally:
        database.close()
