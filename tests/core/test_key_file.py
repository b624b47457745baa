import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.core.errors import ConfigurationError
from app.core.key_file import KeyFile
from tests.fakes import ManualClock


def replaced(path: Path, text: str) -> None:
    """Replace a file by another one, as tools that renew secrets do."""
    beside = path.with_name("next")
    beside.write_text(text)
    beside.rename(path)


def test_a_key_is_a_line_that_is_no_comment(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# of ann\nsk-1\r\n\n  sk-2  \n#sk-3\n")
    assert KeyFile(path, "SETTING").keys() == ("sk-1", "sk-2")


def test_a_file_is_read_anew_once_it_has_changed_and_looked_at_once_a_second(
    tmp_path: Path,
) -> None:
    path, clock = tmp_path / "keys", ManualClock()
    path.write_text("sk-1")
    file = KeyFile(path, "SETTING", clock)
    first = file.keys()
    replaced(path, "sk-2")
    clock.now += 0.9
    assert file.keys() is first
    clock.now += 0.1
    assert file.keys() == ("sk-2",)
    clock.now -= 3600  # a clock that was set back
    replaced(path, "sk-3")
    assert file.keys() == ("sk-3",)


def test_a_link_that_leads_elsewhere_is_a_change(tmp_path: Path) -> None:
    clock, path = ManualClock(), tmp_path / "keys"
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"sk-{name}")
        os.utime(tmp_path / name, (1, 1))
    path.symlink_to("one")
    file = KeyFile(path, "SETTING", clock)
    (tmp_path / "link").symlink_to("two")
    (tmp_path / "link").rename(path)
    clock.now += 1
    assert file.keys() == ("sk-two",)


@pytest.mark.parametrize(
    "spoil",
    [
        Path.unlink,
        lambda path: replaced(path, ""),
        lambda path: replaced(path, "# all gone\n"),
        lambda path: replaced(path, "sk-2\nno key\n"),
    ],
)
def test_a_file_that_is_no_use_any_more_leaves_the_keys_as_they_were_and_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None]
) -> None:
    path, clock = tmp_path / "keys", ManualClock()
    path.write_text("sk-1")
    file = KeyFile(path, "SETTING", clock)
    spoil(path)
    for _ in range(3):
        clock.now += 1
        assert file.keys() == ("sk-1",)
    (told,) = caplog.messages
    assert told.startswith(f"SETTING={path}: ")
    replaced(path, "sk-3")
    clock.now += 1
    with caplog.at_level(logging.INFO, "reprise"):
        assert file.keys() == ("sk-3",)
    assert "sk-" not in caplog.text.replace(str(path), "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No such file or directory"),
        ("\n", "it contains no key"),
        ("a b", "each line must be a key of visible ASCII characters"),
        ("sk-1\nsk-2", "it contains more than 1 key"),
    ],
)
def test_a_file_that_is_no_use_stops_the_start_in_one_line(
    tmp_path: Path, text: str | None, reason: str
) -> None:
    path = tmp_path / "key"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        KeyFile(path, "SETTING", most=1)
    assert str(refused.value) == f"SETTING={path}: {reason}"
