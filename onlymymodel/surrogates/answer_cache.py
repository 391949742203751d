"""A cache of answers on disk, which also counts the queries that were sent to each model."""

import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from onlymymodel.errors import UserError
from onlymymodel.surrogates.answer_lines import (
    Answer,
    Query,
    Scores,
    decode_scores,
    encode_scores,
    read_answer_lines,
    write_answer_lines,
)
from onlymymodel.surrogates.model_card import ModelCard

DATABASE, EXPORT = "answers.sqlite3", "answers.jsonl"  # names in a folder
DATABASE_FILES = (DATABASE, f"{DATABASE}-journal")  # SQLite removes the second one after each change
APPLICATION_ID = 0x6F6D6D61  # "omma", in the header of the file
SCHEMA_VERSION = 1
LOCK_TIMEOUT = 60.0  # seconds to wait for another run that writes to the cache
SCHEMA = (
    "CREATE TABLE queries (id INTEGER PRIMARY KEY, model TEXT NOT NULL, view TEXT NOT NULL, image TEXT NOT NULL)",
    "CREATE INDEX queries_of_model ON queries (model)",
    "CREATE TABLE answers (id INTEGER PRIMARY KEY, model TEXT NOT NULL, view TEXT NOT NULL, image TEXT NOT NULL, "
    "answer INTEGER NOT NULL, scores BLOB, UNIQUE (model, view, image))",
)
ADD_QUERY = "INSERT INTO queries (model, view, image) VALUES (?, ?, ?)"
ADD_ANSWER = (
    "INSERT INTO answers (model, view, image, answer, scores) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (model, view, image) DO UPDATE SET answer = excluded.answer, scores = excluded.scores"
)


class AnswerCacheError(UserError):
    """The cache cannot be read or written."""


class AnswerCache:
    """Answers of models in an SQLite database, and a count of the queries that were sent to each of them.

    A query is counted before it is sent and an answer is stored when it arrives, each in its own transaction. So
    a process may be killed at any moment, and runs that share a database share the query budgets, also at the same
    time. Only hashes and answers are stored: an image is an `image_key`, a model the sha256 of its card, a view
    (`cache_key`) everything else that an answer depends on.

    Args:
        path: of the database; it is created by the first query.
        earlier: JSON lines of an earlier version, which a new database takes over; None for none.

    Raises:
        AnswerCacheError: the file is not a database or is damaged; every method may raise it later too.
        UserError: the database is not an answer cache, or a line of `earlier` is malformed.
    """

    def __init__(self, path: Path, earlier: Path | None = None) -> None:
        self.path = path
        self._earlier = earlier
        self._connection: sqlite3.Connection | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() or (earlier is not None and earlier.exists()):
            self._connect()

    def answer(self, card: ModelCard, view: str, image: str) -> int | None:
        """Return the cached answer to an image, see `answers`; None if there is none.

        Raises:
            UserError: it is no answer of the model.
        """
        row = self._read("SELECT answer FROM answers WHERE model = ? AND view = ? AND image = ?", card, view, image)
        if row is None:
            return None
        answer = int(row[0])
        if not 0 <= answer < card.answers:
            raise UserError(f"{self.path} has class {answer} for a model of {card.classes} classes; delete it")
        return answer

    def scores(self, card: ModelCard, view: str, image: str) -> Scores | None:
        """Return the cached (classes,) scores for an image, None if there are none.

        Raises:
            UserError: their number is not that of the model's classes.
        """
        row = self._read("SELECT scores FROM answers WHERE model = ? AND view = ? AND image = ?", card, view, image)
        if row is None or row[0] is None:
            return None
        scores = decode_scores(row[0])
        if len(scores) != card.classes:
            raise UserError(f"{self.path} has {len(scores)} scores for a model of {card.classes} classes; delete it")
        return scores

    def query_count(self, card: ModelCard) -> int:
        """Return how many queries to the model were ever counted."""
        row = self._read("SELECT COUNT(*) FROM queries WHERE model = ?", card)
        return 0 if row is None else int(row[0])

    def count_query(self, card: ModelCard, view: str, image: str, budget: int | None = None) -> bool:
        """Count a query that is about to be sent, unless that would exceed the budget.

        Args:
            card: the model.
            view: key of how the model reads the image.
            image: hash of the image.
            budget: total number of queries to this model, over all runs; None for any number.

        Returns:
            Whether it was counted, and so may be sent. The count is on disk by then.
        """
        with self._write() as connection:
            if budget is not None:
                (sent,) = connection.execute("SELECT COUNT(*) FROM queries WHERE model = ?", (card.sha256,)).fetchone()
                if sent >= budget:
                    return False
            connection.execute(ADD_QUERY, (card.sha256, view, image))
        return True

    def add_answer(self, card: ModelCard, view: str, image: str, answer: int, scores: Scores | None = None) -> None:
        """Store an answer, and its (classes,) scores if given; they are on disk when this returns."""
        with self._write() as connection:
            _insert(connection, Answer(card.sha256, view, image, answer, scores))

    def export(self, path: Path) -> None:
        """Write all queries and answers as JSON lines, which `recorded:` reads; nothing if there are none."""
        if self._connection is None and not self.path.exists():
            return
        with self._errors():
            connection = self._connect()
            queries = connection.execute("SELECT model, view, image FROM queries ORDER BY id")
            lines: list[Query | Answer] = [Query(*row) for row in queries]
            answers = connection.execute("SELECT model, view, image, answer, scores FROM answers ORDER BY id")
            for model, view, image, answer, scores in answers:
                lines.append(Answer(model, view, image, answer, None if scores is None else decode_scores(scores)))
        write_answer_lines(path, lines)

    def _read(self, statement: str, card: ModelCard, *values: str) -> tuple[Any, ...] | None:
        """Return the first row of a query whose first value is the model."""
        if self._connection is None and not self.path.exists():
            return None
        with self._errors():
            row: tuple[Any, ...] | None = self._connect().execute(statement, (card.sha256, *values)).fetchone()
        return row

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """Hold the database's write lock; commit at the end, or roll back on an exception."""
        with self._errors(), _transaction(self._connect(), "IMMEDIATE") as connection:
            yield connection

    def _connect(self) -> sqlite3.Connection:
        """Return the connection; open it, and create the tables, when first called."""
        if self._connection is not None:
            return self._connection
        for path in (self.path, self.path.with_name(f"{self.path.name}-journal")):
            if path.is_symlink():  # SQLite would write into the file that it leads to
                raise AnswerCacheError(f"{path} is a symbolic link, which is not followed; remove it")
        with self._errors():
            # any thread may collect the garbage, and so be the one that closes the connection
            connection = sqlite3.connect(self.path, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False)
            weakref.finalize(self, connection.close)
            connection.execute("PRAGMA synchronous = EXTRA")  # a commit survives a power failure
            with _transaction(connection, "DEFERRED"):  # what is read is of one moment, before or after a creation
                is_ours = self._is_ours(connection)
            if not is_ours:
                self._create(connection)
            (state,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if state != "ok":
                raise sqlite3.DatabaseError(state)
        self._connection = connection
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        """Create the tables and take over earlier lines, in one transaction, unless another process does so first."""
        with _transaction(connection, "IMMEDIATE"):
            if self._is_ours(connection):
                return
            for statement in SCHEMA:
                connection.execute(statement)
            if self._earlier is not None and self._earlier.exists():
                for line in read_answer_lines(self._earlier):
                    _insert(connection, line)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _is_ours(self, connection: sqlite3.Connection) -> bool:
        """Return whether the tables exist.

        Raises:
            UserError: the file is a database of something else or of a later version.
        """
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if tables and (application, version) != (APPLICATION_ID, SCHEMA_VERSION):
            raise UserError(f"{self.path} is not an answer cache of this version of onlymymodel; move it away")
        return bool(tables)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            reason = " ".join(str(error).split())
            raise AnswerCacheError(
                f"the answer cache {self.path} cannot be used ({reason}); check disk space and permissions, or move it "
                "away to start without its answers and query counts"
            ) from error


def open_answer_cache(folder: Path) -> AnswerCache:
    """Open the answer cache of a folder; a new one takes over the `answers.jsonl` of an earlier version."""
    return AnswerCache(folder / DATABASE, folder / EXPORT)


@contextmanager
def _transaction(
    connection: sqlite3.Connection, kind: Literal["DEFERRED", "IMMEDIATE"]
) -> Iterator[sqlite3.Connection]:
    connection.execute(f"BEGIN {kind}")
    try:
        yield connection
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


def _insert(connection: sqlite3.Connection, line: Query | Answer) -> None:
    if isinstance(line, Query):
        connection.execute(ADD_QUERY, (line.model, line.view, line.image))
    else:
        scores = None if line.scores is None else encode_scores(line.scores)
        connection.execute(ADD_ANSWER, (line.model, line.view, line.image, line.answer, scores))
