"""Reading a file that somebody is writing."""

from __future__ import annotations

from pathlib import Path

from autophage.live.follow import EventTail
from autophage.store.rundir import EventLog


def test_only_what_is_new(tmp_path: Path) -> None:
    tail = EventTail(tmp_path / "events.jsonl")
    assert tail.read() == []
    log = EventLog(tmp_path / "events.jsonl")
    log.append({"kind": "note", "time": 1.0, "text": "ü"})
    assert [event["text"] for event in tail.read()] == ["ü"]
    assert tail.read() == []
    log.append({"kind": "note", "time": 1.0, "text": "b"})
    assert [event["text"] for event in tail.read()] == ["b"]


def test_a_line_in_the_middle_of_being_written_waits(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    line = '{"kind": "note", "text": "ü"}\n'.encode()
    cut = line.index("ü".encode()) + 1
    tail = EventTail(path)
    path.write_bytes(line[:cut])
    assert tail.read() == []
    with path.open("ab") as file:
        file.write(line[cut:])
    assert tail.read() == [{"kind": "note", "text": "ü"}]


def test_a_torn_line_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"kind": "no\n\xff\n[1]\n{"kind": "note"}\n')
    assert EventTail(path).read() == [{"kind": "note"}]
