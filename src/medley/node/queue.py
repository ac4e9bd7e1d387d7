"""The durable queue of the node: which objects arrived, and how far each series is.

A SQLite database in WAL mode. Every transition of a series is one transaction that is on the disk when the method
returns, so that a killed process or a power cut leaves each series in one of these states:

    receiving   objects arrive
    ready       complete, waits for the network
    processing  the network works on it; after a crash it is ready again
    sending     results are written, some are not yet sent
    done        all results are sent
    skipped     no rule selects it
    aside       it failed; the reason is kept with it
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medley.errors import MedleyError
from medley.node.database import Database
from medley.node.header import Received

STATES = ("receiving", "ready", "processing", "sending", "done", "skipped", "aside")
FINISHED = ("done", "skipped")
_FILE = "queue.sqlite"


@dataclass(frozen=True)
class Entry:
    """A series in the queue. `number` identifies it; the others are the columns of the table, see the source."""

    number: int
    study: str
    uid: str
    sender: str
    state: str
    reason: str
    expected: int | None
    arrived: float
    released: float | None
    changed: float


@dataclass(frozen=True)
class Result:
    """A file to send to an archive; its state is `waiting`, `sending` or `sent`."""

    number: int
    series: int
    archive: str
    file: str
    state: str
    attempts: int
    refusals: int

    @property
    def uncertain(self) -> bool:
        """Whether it may have arrived: it was being sent when the node stopped or the connection was lost."""
        return self.state == "sending"


class Queue:
    """The queue in a folder, which is made if it does not exist. May be used by several threads and processes.

    Raises
    ------
    QueueUnusable: of all methods.
    MedleyError: a series is not in the state that a method expects, or there is no such series.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._database = Database(folder / _FILE)
        self.path = self._database.path

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    # Receiving

    def add(self, one: Received, sender: str, file: str, digest: str, now: float) -> tuple[int, str | None]:
        """Note an object that was received. `file` is in the queue from now on.

        Returns
        -------
        The number of its series, and the file that is not needed: `file` where the object is in the queue already, the
        earlier file where the content is new and its series is still being collected; None for neither.
        """
        with self._database.transaction() as database:
            known = database.execute(
                "SELECT s.number, o.digest FROM objects o JOIN series s ON s.number = o.series "
                "WHERE s.uid = ? AND o.instance = ? ORDER BY s.number DESC LIMIT 1",
                (one.series, one.instance),
            ).fetchone()
            if known and known[1] == digest:
                return known[0], file
            number = self._collecting(one, sender, now)
            before = database.execute(
                "SELECT file FROM objects WHERE series = ? AND instance = ?", (number, one.instance)
            ).fetchone()
            database.execute("DELETE FROM objects WHERE series = ? AND instance = ?", (number, one.instance))
            database.execute(
                "INSERT INTO objects (series, instance, digest, file, images) VALUES (?, ?, ?, ?, ?)",
                (number, one.instance, digest, file, one.images),
            )
            return number, before[0] if before else None

    def _collecting(self, one: Received, sender: str, now: float) -> int:
        """The number of the series that an object belongs to: one that is not yet processed, or a new one."""
        database = self._database.connection
        found = database.execute(
            "SELECT number FROM series WHERE uid = ? AND state IN ('receiving', 'ready') ORDER BY number DESC LIMIT 1",
            (one.series,),
        ).fetchone()
        told = database.execute("SELECT count FROM expected WHERE uid = ?", (one.series,)).fetchone()
        expected = told[0] if told else one.expected
        if not found:
            number = database.execute(
                "INSERT INTO series (study, uid, sender, state, expected, arrived, changed) "
                "VALUES (?, ?, ?, 'receiving', ?, ?, ?)",
                (one.study, one.series, sender, expected, now, now),
            ).lastrowid
            assert number is not None
            self._take_over(number, one.series, now)
            return number
        database.execute(
            "UPDATE series SET state = 'receiving', arrived = ?, released = NULL, expected = coalesce(?, expected) "
            "WHERE number = ?",
            (now, expected, found[0]),
        )
        return int(found[0])

    def _take_over(self, number: int, uid: str, now: float) -> None:
        """Make the objects of earlier parts of a series, whose work has ended, objects of this part."""
        ended = "SELECT number FROM series WHERE uid = ? AND number != ? AND state IN ('done', 'skipped', 'aside')"
        self._database.connection.execute(
            f"UPDATE OR IGNORE objects SET series = ? WHERE file != '' AND series IN ({ended})", (number, uid, number)
        )
        self._database.connection.execute(
            "UPDATE series SET state = 'skipped', reason = ?, changed = ? WHERE uid = ? AND number != ? "
            "AND state = 'aside'",
            (f"continued as series {number}", now, uid, number),
        )

    def expect(self, uid: str, count: int, now: float) -> None:
        """Note how many objects a series has, before they arrive."""
        with self._database.transaction() as database:
            database.execute("INSERT OR REPLACE INTO expected VALUES (?, ?, ?)", (uid, count, now))

    def released(self, numbers: Iterable[int], now: float) -> None:
        """The last open association that sent objects of these series has ended."""
        with self._database.transaction() as database:
            for number in numbers:
                database.execute("UPDATE series SET released = ? WHERE number = ?", (now, number))

    # Transitions of a series

    def close_series(self, entry: Entry, state: str, now: float, reason: str = "") -> bool:
        """End the collection of a series: it becomes ready, skipped or aside.

        Returns False, and changes nothing, while an earlier part of the same series is being processed or sent, and
        where another object has arrived since the entry was read. The objects of earlier parts that are still in the
        queue become objects of this one, so that the series is processed as a whole.
        """
        with self._database.transaction() as database:
            busy = "SELECT 1 FROM series WHERE uid = ? AND number != ? AND state IN ('ready', 'processing', 'sending')"
            changed = "SELECT 1 FROM series WHERE number = ? AND (state != 'receiving' OR arrived != ?)"
            if (
                database.execute(busy, (entry.uid, entry.number)).fetchone()
                or database.execute(changed, (entry.number, entry.arrived)).fetchone()
            ):
                return False
            self._take_over(entry.number, entry.uid, now)
            self._move(entry.number, "receiving", state, now, reason)
            return True

    def take(self, now: float) -> Entry | None:
        """The longest waiting series that is ready, which is then `processing`; None if there is none.

        There is one worker: a series that is still `processing` was left so by a crash or a full disk, and is ready.
        """
        with self._database.transaction() as database:
            database.execute("UPDATE series SET state = 'ready' WHERE state = 'processing'")
            row = database.execute("SELECT * FROM series WHERE state = 'ready' ORDER BY changed, number").fetchone()
            if row is None:
                return None
            self._move(row[0], "ready", "processing", now)
            return self._entry(row[0])

    def processed(self, number: int, files: Sequence[str], archives: Sequence[str], now: float) -> None:
        """The results of a series are on the disk: each file is to be sent to each archive."""
        with self._database.transaction() as database:
            for archive in archives:
                rows = [(number, archive, file) for file in files]
                database.executemany("INSERT INTO results (series, archive, file) VALUES (?, ?, ?)", rows)
            self._move(number, "processing", "sending", now)

    def set_aside(self, number: int, reason: str, now: float) -> None:
        """Take a series that failed out of the way, with the reason."""
        with self._database.transaction():
            self._move(number, STATES[:4], "aside", now, reason)

    def retry(self, number: int, now: float) -> str:
        """Put a series that is aside back, and return its state: `sending` if it has results, else `ready`."""
        with self._database.transaction() as database:
            waiting = database.execute(
                "UPDATE results SET due = 0, attempts = 0, refusals = 0 WHERE series = ? AND state != 'sent'", (number,)
            ).rowcount
            state = "sending" if waiting else "ready"
            self._move(number, "aside", state, now)
            return state

    def discard(self, number: int, now: float) -> None:
        """Give a series that is aside up: it counts as skipped."""
        with self._database.transaction():
            self._move(number, "aside", "skipped", now, "discarded")

    # Sending

    def due(self, now: float) -> list[Result]:
        """Results that can be sent now, in the order of their series."""
        with self._database.transaction() as database:
            rows = database.execute(
                "SELECT r.number, r.series, r.archive, r.file, r.state, r.attempts, r.refusals "
                "FROM results r JOIN series s ON s.number = r.series "
                "WHERE s.state = 'sending' AND r.state != 'sent' AND r.due <= ? ORDER BY r.series, r.archive, r.number",
                (now,),
            ).fetchall()
        return [Result(*row) for row in rows]

    def begin_sending(self, result: Result) -> None:
        """Note that a result is about to be sent: until `sent`, it is uncertain whether it has arrived."""
        with self._database.transaction() as database:
            database.execute("UPDATE results SET state = 'sending' WHERE number = ?", (result.number,))

    def sent(self, result: Result, now: float) -> bool:
        """A result has arrived. Returns whether it was the last one of its series, which then is done."""
        with self._database.transaction() as database:
            database.execute("UPDATE results SET state = 'sent' WHERE number = ?", (result.number,))
            left = "SELECT 1 FROM results WHERE series = ? AND state != 'sent'"
            if database.execute(left, (result.series,)).fetchone():
                return False
            self._move(result.series, "sending", "done", now)
            return True

    def postpone(self, series: int, archive: str, due: float, *, refused: Result | None = None) -> None:
        """Sending the results of a series to an archive has failed, and is tried again at `due`.

        Parameters
        ----------
        refused: the result that the archive answered with a refusal; it has certainly not arrived.
        """
        with self._database.transaction() as database:
            database.execute(
                "UPDATE results SET attempts = attempts + 1, due = ? "
                "WHERE series = ? AND archive = ? AND state != 'sent'",
                (due, series, archive),
            )
            if refused:
                database.execute(
                    "UPDATE results SET state = 'waiting', refusals = refusals + 1 WHERE number = ?", (refused.number,)
                )

    # Looking

    def entries(self, *states: str) -> list[Entry]:
        """The series in these states, or all, by number."""
        chosen = states or STATES
        with self._database.transaction() as database:
            rows = database.execute(
                f"SELECT * FROM series WHERE state IN ({', '.join('?' * len(chosen))}) ORDER BY number", chosen
            ).fetchall()
        return [Entry(*row) for row in rows]

    def contents(self, number: int) -> tuple[list[str], int]:
        """The files of a series in the order in which they came, and the number of its images."""
        with self._database.transaction() as database:
            rows = database.execute(
                "SELECT file, images FROM objects WHERE series = ? AND file != '' ORDER BY number", (number,)
            ).fetchall()
        return [file for file, _ in rows], sum(images for _, images in rows)

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """The number of series in each state, and of results for each archive that are not sent."""
        with self._database.transaction() as database:
            states = dict(database.execute("SELECT state, count(*) FROM series GROUP BY state").fetchall())
            waiting = dict(
                database.execute("SELECT archive, count(*) FROM results WHERE state != 'sent' GROUP BY archive")
            )
        return {state: states.get(state, 0) for state in STATES}, waiting

    # Removing

    def forget(self, finished_before: float) -> tuple[list[int], list[str]]:
        """Remove finished series that ended before a time; returns their numbers, and the files of their objects."""
        chosen = "SELECT number FROM series WHERE state IN ('done', 'skipped') AND changed < ?"
        with self._database.transaction() as database:
            numbers = [number for (number,) in database.execute(chosen, (finished_before,))]
            wanted = f"SELECT file FROM objects WHERE file != '' AND series IN ({chosen})"
            files = [file for (file,) in database.execute(wanted, (finished_before,))]
            database.execute(f"DELETE FROM series WHERE number IN ({chosen})", (finished_before,))
            database.execute("DELETE FROM expected WHERE noted < ?", (finished_before,))
        return numbers, files

    def release_files(self, number: int) -> None:
        """The files of the objects of a series are not needed; the objects are still recognised."""
        with self._database.transaction() as database:
            database.execute("UPDATE objects SET file = '' WHERE series = ?", (number,))

    def files(self) -> set[str]:
        """All files of objects that are needed."""
        with self._database.transaction() as database:
            return {file for (file,) in database.execute("SELECT file FROM objects WHERE file != ''")}

    # Inside

    def _move(self, number: int, before: str | Sequence[str], after: str, now: float, reason: str = "") -> None:
        allowed = [before] if isinstance(before, str) else list(before)
        moved = self._database.connection.execute(
            f"UPDATE series SET state = ?, reason = ?, changed = ? WHERE number = ? "
            f"AND state IN ({', '.join('?' * len(allowed))})",
            (after, reason, now, number, *allowed),
        )
        if moved.rowcount != 1:
            raise MedleyError(f"series {number} is not {' or '.join(allowed)}; medley pacs list shows its state")

    def _entry(self, number: int) -> Entry:
        return Entry(*self._one("SELECT * FROM series WHERE number = ?", number))

    def _one(self, query: str, number: int) -> tuple[Any, ...]:
        row = self._database.connection.execute(query, (number,)).fetchone()
        if row is None:
            raise MedleyError(f"there is no series {number} in the queue; medley pacs list shows all")
        return tuple(row)
