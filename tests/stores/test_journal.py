import logging
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.core.errors import ConfigurationError
from app.core.models import Kind
from app.stores.sqlite.journal import Append, Journal, Purge, Remove, Row
from tests.fakes import ManualClock

CHAT = Kind.ANSWER


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


def open_journal(path: Path) -> Journal:
    return Journal.open(path, ManualClock())


def row(journal: Journal, digest: str, fields: bytes = b"fields", kind: Kind = CHAT) -> Row:
    return Row(kind, digest, 2e9, journal.epoch, fields, b"1234", "model")


def digests(journal: Journal) -> list[str]:
    return [row.digest for row in journal.rows()]


def fill(path: Path, names: str = "abc") -> None:
    journal = open_journal(path)
    journal.write([Append([row(journal, name) for name in names])])
    journal.close()


def test_rows_come_back_as_they_were_and_in_the_order_of_writing(path: Path) -> None:
    journal = open_journal(path)
    rows = [row(journal, "b"), row(journal, "a", kind=Kind.EMBEDDING), row(journal, "b", b"newer")]
    journal.write([Append([*rows[:2], Row(CHAT, "c", 1.5, journal.epoch, b"")])])
    journal.write([Append(rows[2:])])
    journal.close()
    again = open_journal(path)
    assert list(again.rows()) == [rows[1], Row(CHAT, "c", 1.5, again.epoch, b""), rows[2]]
    assert again.epoch == journal.epoch
    again.close()


def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    fill(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_kinds_are_apart(path: Path) -> None:
    journal = open_journal(path)
    journal.write([Append([row(journal, "a"), row(journal, "a", kind=Kind.EMBEDDING)])])
    journal.write([Remove([(CHAT, "a")])])
    assert [row.kind for row in journal.rows()] == [Kind.EMBEDDING]
    journal.close()


def test_changes_are_made_in_their_order(path: Path) -> None:
    journal = open_journal(path)
    journal.write(
        [
            Append([row(journal, "a"), row(journal, "b")]),
            Remove([(CHAT, "a"), (CHAT, "none")]),
            Append([row(journal, "c"), row(journal, "a", b"again")]),
            Remove([(CHAT, "b")]),
        ]
    )
    assert [(row.digest, row.fields) for row in journal.rows()] == [
        ("c", b"fields"),
        ("a", b"again"),
    ]
    journal.close()


def test_changes_are_made_all_or_none(path: Path) -> None:
    fill(path)
    journal = open_journal(path)
    good = Row(CHAT, "d", 1.0, "e2", b"")
    bad = good._replace(kind="no kind")  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        journal.write([Purge("e2"), Append([good, bad])])
    assert digests(journal) == ["a", "b", "c"]
    journal.write([Append([row(journal, "d")])])
    assert digests(journal) == ["a", "b", "c", "d"]
    journal.close()


def test_what_belongs_to_an_epoch_that_is_over_neither_comes_nor_replaces(path: Path) -> None:
    fill(path)
    journal = open_journal(path)
    late = [row(journal, "a"), row(journal, "d")]
    newer = Row(CHAT, "a", 2e9, "e2", b"newer")
    journal.write([Purge("e2"), Append([newer]), Append(late)])
    assert list(journal.rows()) == [newer]
    journal.close()
    again = open_journal(path)
    assert again.epoch == "e2"
    again.close()


def test_space_is_used_again(path: Path) -> None:
    journal = open_journal(path)
    sizes = []
    for _ in range(8):
        rows = [row(journal, str(index), bytes(10_000)) for index in range(300)]
        journal.write([Append(rows)])
        journal.write([Remove([(CHAT, row.digest) for row in rows])])
        sizes.append(path.stat().st_size + path.with_name("cache.db-wal").stat().st_size)
    assert max(sizes) == pytest.approx(sizes[1], rel=0.1)
    journal.close()
    assert not path.with_name("cache.db-wal").exists()


def overwrite_all(path: Path) -> None:
    path.write_bytes(b"This is no database. " * 1000)


def overwrite_pages(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\x55" * (len(whole) - 8192))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:9000])


def run_sql(statement: str) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        connection = sqlite3.connect(path)
        with connection:
            connection.execute("PRAGMA ignore_check_constraints = 1")
            connection.execute(statement)
        connection.close()

    return run


def overwrite_schema(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"tableentries", b"table\xffntries"))


NEWER = run_sql("PRAGMA user_version = 2")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (overwrite_all, "corrupt"),
        (overwrite_pages, "corrupt"),
        (cut, "corrupt"),
        (overwrite_schema, "corrupt"),
        (run_sql("DROP TABLE entries"), "corrupt"),
        (run_sql("ALTER TABLE entries DROP COLUMN vector"), "corrupt"),
        (run_sql("DROP TABLE meta"), "corrupt"),
        (run_sql("DELETE FROM meta"), "corrupt"),
        (run_sql("UPDATE entries SET kind = 'other'"), "corrupt"),
        (run_sql("PRAGMA user_version = 0"), "corrupt"),
        (NEWER, "newer"),
    ],
)
def test_a_file_that_cannot_be_used_is_set_aside_in_one_line(
    path: Path, damage: Callable[[Path], None], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    fill(path)
    damage(path)
    before = path.read_bytes()
    journal = open_journal(path)
    assert digests(journal) == []
    name = f"cache.db.{reason}-20231114T221320Z"
    assert path.with_name(name).read_bytes() == before
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert name in record.getMessage()
    journal.write([Append([row(journal, "new")])])
    journal.close()
    again = open_journal(path)
    assert digests(again) == ["new"]
    again.close()


def test_what_belongs_to_a_file_goes_aside_with_it(path: Path) -> None:
    overwrite_all(path)
    path.with_name("cache.db-shm").touch()
    open_journal(path).close()
    names = sorted(child.name for child in path.parent.iterdir())
    aside = "cache.db.corrupt-20231114T221320Z"
    assert names == ["cache.db", aside, f"{aside}-shm"]


def test_an_empty_file_is_a_new_one(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.touch()
    fill(path)
    assert not caplog.records


def test_the_database_of_another_program_is_not_touched(path: Path) -> None:
    run_sql("CREATE TABLE accounts (owner TEXT)")(path)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="is another program's database"):
        open_journal(path)
    assert [child.name for child in path.parent.iterdir()] == ["cache.db"]
    assert path.read_bytes() == before


HOLD = """
import sys, time
from pathlib import Path
from app.stores.sqlite.journal import Journal
journal = Journal.open(Path(sys.argv[1]), time.time)
print("open", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_gone(path: Path) -> None:
    fill(path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        cwd=Path(__file__).parent.parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "open\n"
        with pytest.raises(ConfigurationError) as caught:
            open_journal(path)
        first.kill()
    assert str(caught.value) == f"REPRISE_STORE=sqlite:///{path}: another process has it open"
    journal = open_journal(path)
    assert digests(journal) == ["a", "b", "c"]
    journal.close()


@pytest.mark.parametrize("name", ["none/cache.db", "file/cache.db", "folder", "/proc/cache.db"])
def test_a_place_where_no_file_can_be_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    path = tmp_path / name
    with pytest.raises(ConfigurationError) as caught:
        open_journal(path)
    assert str(caught.value).startswith(f"REPRISE_STORE=sqlite:///{path}: cannot be opened: ")
    assert len(str(caught.value).splitlines()) == 1
