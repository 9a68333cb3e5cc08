"""A table produced on an embedded model: figures are those of evaluate, it goes on, and its files are there."""

import csv
import os
import subprocess
import sys

import pytest
import tomlkit
from PIL import Image

from tome_zoo import create_model, evaluate
from tome_zoo.benchmark import records
from tome_zoo.cards import TableCard, table_card
from tome_zoo.demo import write_data
from tome_zoo.errors import DataError, TomeZooError
from tome_zoo.paper import run
from tome_zoo.paper.produce import produce
from tome_zoo.paper.tables import equal_time_table, list_table, measured_table
from tome_zoo.weights.save import save_weights

MODEL = "demo_image.shapes"
SMALL = TableCard.model_validate({
    "name": "small", "title": "A small grid", "macs": [0.6, 0.4],
    "rows": [
        {"part": "reducer", "choice": "bipartite"},
        {"part": "reducer", "choice": "random", "reducer": "random"},
        {"part": "reducer", "choice": "evit", "reducer": "evit"},
    ],
})  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data("shapes", tmp_path_factory.mktemp("shapes"), count=20)


def make(data, folder, **options):
    options = {"models": [MODEL], "batch_size": 20, "rounds": 1, "device": "cpu", "workers": 0} | options
    return produce(SMALL, data, folder, **options)


def test_a_grid_is_scored_timed_written_and_gone_on_with(data, tmp_path, monkeypatch):
    made = make(data, tmp_path, bench=True)
    named = {(entry.cell.row.choice, entry.cell.row.macs): entry for entry in made.entries}
    cell = named["random", 0.4].cell
    (expected,) = evaluate(MODEL, data, r=[cell.r], reducer="random", device="cpu", workers=0)
    assert named["random", 0.4].score == expected.score
    assert named["random", 0.4].gmacs == expected.gmacs
    assert named["random", 0.4].macs_left == pytest.approx(0.4, abs=0.02)
    assert named["", None].macs_left == 1.0
    assert "no class token" in named["evit", 0.6].reason
    assert named["evit", 0.6].score is None
    assert named["bipartite", 0.6].speedup > 0
    assert named["bipartite", 0.6].reduction_share is not None
    assert {item.reducer for item in made.equal_time} == {"bipartite", "random"}
    rows = list(csv.DictReader((tmp_path / "small.csv").read_text().splitlines()))
    assert [row["measured"] for row in rows] == ["" if e.score is None else str(e.score) for e in made.entries]
    with Image.open(tmp_path / "small.png") as picture:
        assert picture.size[0] > 400
    for pieces in (measured_table(SMALL, made.entries), equal_time_table(made.equal_time)):
        assert pieces.row_count

    lines = len(records.read(tmp_path))
    monkeypatch.setattr(run, "benchmark", None)  # nothing is timed again
    again = make(data, tmp_path, bench=True)
    assert [entry.to_json() for entry in again.entries] == [entry.to_json() for entry in made.entries]
    assert len(records.read(tmp_path)) == lines


def test_ranks_share_the_work_and_one_of_them_writes_and_talks(data, tmp_path):
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "small.toml").write_text(tomlkit.dumps({"table": [SMALL.model_dump(exclude_none=True)]}))
    command = ["paper", "small", "--model", MODEL, "--data", data, "--cards", tmp_path / "cards", "--batch-size", 4,
               "--workers", 0, "--device", "cpu", "--output"]  # fmt: skip

    def torchrun(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python",
             "--", sys.executable, "-m", "tome_zoo", *map(str, arguments)], capture_output=True, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}, check=False,
        )  # fmt: skip

    done = torchrun(*command, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("A small grid") == 1
    made = make(data, tmp_path / "one", batch_size=4)
    rows = list(csv.DictReader((tmp_path / "two" / "small.csv").read_text().splitlines()))
    assert [row["measured"] for row in rows] == ["" if e.score is None else str(e.score) for e in made.entries]
    refused = torchrun(*command, tmp_path / "two", "--bench")
    assert refused.returncode != 0
    assert refused.stderr.count("error: times are taken by one process") == 1


def test_several_weights_of_a_model_give_mean_and_spread(data, tmp_path):
    files = [save_weights(create_model(MODEL), tmp_path / f"seed{k}.safetensors") for k in range(2)]
    made = make(data, tmp_path / "out", weights=[str(file) for file in files])
    entry = next(entry for entry in made.entries if entry.cell.row.choice == "bipartite")
    singles = [
        evaluate(MODEL, data, r=[entry.cell.r], weights=file, device="cpu", workers=0)[0].score for file in files
    ]
    assert entry.scores == tuple(singles)
    assert entry.score == sum(singles) / 2
    assert entry.spread == pytest.approx(abs(singles[0] - singles[1]) / 2**0.5)


def test_the_model_that_is_scored_is_the_one_that_is_timed(data, tmp_path, monkeypatch):
    model = create_model(MODEL, class_token=True, pool="token")
    file = save_weights(model, tmp_path / "other.safetensors")
    plain = make(data, tmp_path / "out", bench=True)
    for _ in range(2):
        made = make(data, tmp_path / "out", bench=True, weights=[str(file)])
        entry = next(entry for entry in made.entries if entry.cell.row.choice == "evit")
        assert entry.score is not None
        assert entry.speedup > 0
        monkeypatch.setattr(run, "benchmark", None)  # nothing is timed again
    found = records.read(tmp_path / "out")
    tokens = {record.tokens_in for record in found if record.overrides == {"class_token": True, "pool": "token"}}
    assert tokens == {found[0].tokens_in + 1}
    again = make(data, tmp_path / "out", bench=True)
    assert [entry.speedup for entry in again.entries] == [entry.speedup for entry in plain.entries]
    with pytest.raises(TypeError):  # another dtype is timed anew
        make(data, tmp_path / "out", bench=True, dtype="bfloat16")
    own = save_weights(create_model(MODEL), tmp_path / "own.safetensors")
    with pytest.raises(TomeZooError, match="expected weights of one architecture"):
        make(data, tmp_path / "out", weights=[str(own), str(file)])


def test_printed_figures_stand_where_nothing_can_be_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TOME_ZOO_HOME", str(tmp_path / "cache"))
    made = produce(table_card("table4"), None, tmp_path)
    assert [entry.printed for entry in made.entries] == [79.8, 78.6, 79.3, 79.3, 79.4, 79.3]
    assert all(entry.reason and entry.score is None for entry in made.entries)
    assert "trained with its model" in made.entries[2].reason
    assert (tmp_path / "table4.png").stat().st_size > 5000
    assert list_table([table_card("table4")]).row_count == 1


def test_data_that_do_not_suit_are_said_in_the_row(tmp_path):
    (tmp_path / "empty").mkdir()
    made = make(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(DataError):
        evaluate(MODEL, tmp_path / "empty", device="cpu")
    assert all(entry.reason for entry in made.entries)
