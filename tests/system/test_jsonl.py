"""Lines that several processes append, that are cut off, and that other programs have rewritten."""

import json
import resource
import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from tome_zoo.errors import DataError
from tome_zoo.system import jsonl


@dataclass(frozen=True, kw_only=True)
class Row:
    name: str
    count: int
    share: float
    note: str | None
    labels: tuple[str, ...] = ()
    extra: dict[str, int] = field(default_factory=dict)


def read(path):
    return jsonl.read(path, lambda data: jsonl.from_dict(Row, data), "row", "the test")


WRITER = """
import sys
from pathlib import Path
from tome_zoo.system import jsonl
for number in range(40):
    jsonl.append(Path(sys.argv[1]), [{"writer": sys.argv[2], "number": number, "text": "x" * 3000}])
"""


def test_several_processes_lose_no_line(tmp_path):
    """Each of them rewrites nothing that another one has written meanwhile."""
    path = tmp_path / "rows.jsonl"
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*command, name], env={"PYTHONPATH": ":".join(sys.path)}) for name in "abc"]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 120
    for name in "abc":
        assert [line["number"] for line in lines if line["writer"] == name] == list(range(40))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (b'\xef\xbb\xbf{"name": "a", "count": 1, "share": 0.5, "note": null}\n', 1),  # a byte-order mark
        (b'\n{"name": "a", "count": 1, "share": 1, "note": "b"}\r\n\r\n', 1),  # blank lines, Windows' ends
        (b'{"name": 8, "count": 1.0, "share": 1, "note": 3, "later": [], "labels": null}\n', 1),  # pandas
        (b"", 0),
    ],
)
def test_rewritten_files_are_read(tmp_path, text, count):
    (tmp_path / "rows.jsonl").write_bytes(text)
    rows = read(tmp_path / "rows.jsonl")
    assert len(rows) == count
    assert all(isinstance(row.name, str) and isinstance(row.count, int) for row in rows)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"name": "a", "count": "many", "share": 1, "note": null}', "line 2.*field count"),
        ('{"name": "a", "count": 1.5, "share": 1, "note": null}', "line 2.*field count"),
        ('{"name": "a", "share": 1, "note": null}', "line 2.*field count"),
        ('{"name": [], "count": 1, "share": 1, "note": null}', "line 2.*field name"),
        ("[1]", "line 2.*an object"),
        ("name,count", "line 2"),
    ],
)
def test_what_cannot_be_read_is_named_by_file_line_and_field(tmp_path, line, message):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"name": "a", "count": 1, "share": 1, "note": null}\n' + line + "\n")
    with pytest.raises(DataError, match=f"rows.jsonl, {message}"):
        read(path)


@pytest.mark.parametrize("length", [5000, 9000, 300_000])  # shorter and longer than the buffers of files
def test_a_full_disk_leaves_the_lines_that_were_there(tmp_path, length):
    """By a limit on the size of files, in a process of its own, which writes no bytecode: a short .pyc would stay."""
    code = (
        "import resource, signal, sys; from pathlib import Path; from tome_zoo.system import jsonl\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        f"jsonl.append(Path(sys.argv[1]), [{{'text': 'x' * {length}}}])"
    )
    assert resource.RLIMIT_FSIZE is not None
    path = tmp_path / "rows.jsonl"
    jsonl.append(path, [{"a": 1}])
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True, text=True, check=False,
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert "File too large" in done.stderr
    assert path.read_text() == '{"a": 1}\n'


def test_a_last_line_without_its_end_stays_and_half_a_line_goes(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}')
    jsonl.append(path, [{"a": 3}])
    path.write_text(path.read_text() + '{"a": 4')
    jsonl.append(path, [{"a": 5}])
    assert [json.loads(line)["a"] for line in path.read_text().splitlines()] == [1, 2, 3, 5]
