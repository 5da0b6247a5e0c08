"""Kill -9 at random moments, through the command line: nothing acknowledged is lost, nothing is there twice."""

import random

import attack
import pytest
from sieges import ExportSiege, GcSiege, IndexSiege


def test_eight_kills(tmp_path):
    """The small version of the siege below: 3 of the supervisor and 2 of workers of index, 2 of gc, 1 of export."""
    draw = random.Random(8)
    index = IndexSiege(tmp_path / "index", 120)
    while index.tally["supervisor"] < 3:
        index.kill_supervisor(draw)
    index.relieve()
    while index.tally["worker"] < 2:
        index.kill_workers(draw, 2)
    gc = GcSiege(tmp_path / "gc", 60)
    while gc.kills < 2:
        gc.kill(draw)
    gc.relieve()
    export = ExportSiege(tmp_path / "export", 60, "imagefolder")
    while export.kills < 1:
        export.kill(draw)
    export.relieve()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [200])
def test_two_hundred_kills(tmp_path, seed):
    draw = random.Random(seed)
    index = IndexSiege(tmp_path / "index", 400)
    while index.tally["supervisor"] < 70:
        index.kill_supervisor(draw)
    index.relieve()
    while index.tally["worker"] < 60:
        index.kill_workers(draw, 6)
    gc = GcSiege(tmp_path / "gc", 400)
    while gc.kills < 40:
        gc.kill(draw)
    gc.relieve()
    exports = {form: ExportSiege(tmp_path / form, 200, form) for form in ("imagefolder", "webdataset", "parquet")}
    while sum(each.kills for each in exports.values()) < 30:
        exports[draw.choice(sorted(exports))].kill(draw)
    for each in exports.values():
        each.relieve()
    attack.keep_figures(
        "kills", seed=seed, violations=0, index_supervisor=index.tally["supervisor"],
        index_worker=index.tally["worker"], index_runs_finished_and_equal=index.tally["finished"],
        items_redone=index.tally["lost"],
        items_redone_a_kill=round(index.tally["lost"] / index.tally["supervisor"], 1), gc=gc.kills,
        export=sum(each.kills for each in exports.values()), exports_found_whole=sum(e.whole for e in exports.values()),
        note="gc and export have no workers: they run in the command's own process",
    )  # fmt: skip
