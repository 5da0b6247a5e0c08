"""The seeds' cells are all here, each once, as printed."""

from __future__ import annotations

import copy
import json

import pytest

from lightmeter.errors import InvalidValueError, UnknownNameError
from lightmeter.studies.published import FOLDER, published, published_names, table_from

# Rows, columns, and the sums of values and of what follows ±, added up from the seed's text by another program.
SEED_004 = {
    "caltech-101": (10, 4, 313.26, 0.0),
    "caltech-256": (10, 4, 840.62, 0.0),
    "ytf-lfw": (12, 6, 82641.11, 237.6),
    "ijb-a": (12, 6, 3607.49, 23.7),
    "ann-error": (6, 3, 235.2, 0.0),
    "compression": (7, 4, 1997.94, 0.0),
    "sact-coco": (5, 2, 513.65, 16.9),
}

SEED_003 = {
    "yt8m-sizes": (4, 4, 20.132, 0.0),
    "yt8m-visual-audio": (3, 1, 197.52, 0.0),
    "yt8m-leaderboard": (10, 1, 833.65, 0.0),
    "yt8m-models": (9, 1, 720.82, 0.0),
    "yt8m-text": (6, 4, 1318.7, 0.0),
    "yt8m-text-models": (5, 1, 202.2, 0.0),
}
SEED_002 = {"distill-imagenet-100": (6, 6, 864.4, 15.0), "distill-tiny-imagenet": (2, 3, 255.4, 1.7)}
SEED_001 = {"bair-masks": (9, 1, 3.745, 0.0)}
SEEDS = {"001": SEED_001, "002": SEED_002, "003": SEED_003, "004": SEED_004}
TABLES = SEED_001 | SEED_002 | SEED_003 | SEED_004


def test_no_table_is_missing():
    assert published_names() == tuple(sorted(TABLES))
    assert sum(len(published(name).cells) for name in SEED_004) == 280
    assert sum(len(published(name).cells) for name in SEED_003) == 67
    assert sum(len(published(name).cells) for name in SEED_002) == 42
    assert sum(len(published(name).cells) for name in SEED_001) == 9


@pytest.mark.parametrize("name", TABLES)
class TestEveryTable:
    def test_holds_every_cell_of_the_seed(self, name):
        table = published(name)
        rows, columns, values, plus_minus = TABLES[name]
        assert (len(table.rows), len(table.columns), len(table.cells)) == (rows, columns, rows * columns)
        assert sum(cell.value or 0 for cell in table.cells) == pytest.approx(values)
        assert sum(cell.plus_minus or 0 for cell in table.cells) == pytest.approx(plus_minus)

    def test_says_where_to_look(self, name):
        for cell in published(name).cells:
            assert cell.seed == next(seed for seed, own in SEEDS.items() if name in own)
            assert cell.place
            assert cell.unit in ("%", "ms", "MB", "million videos", "IoU")

    def test_values_are_what_is_printed(self, name):
        for cell in published(name).cells:
            if cell.printed == "-":
                assert cell.value is cell.plus_minus is None
                continue
            bare = cell.printed.removesuffix("%").removesuffix("*").removesuffix("(Baseline)")
            value, _, spread = bare.partition("±")
            assert cell.value == float(value)
            assert cell.plus_minus == (float(spread) if spread else None)


@pytest.mark.parametrize(
    ("table", "row", "column", "printed"),
    [  # read by eye
        ("caltech-101", "Proposed TWD, m = 64", "VGGNet-19, time", "0.33"),
        ("caltech-256", "TWD (15), (16), posteriors (4)", "Inception v1, error", "34.28"),
        ("ytf-lfw", "None; k-NN (1), 32 PCA", "VGGFace2_ft, time", "19±0.1"),
        ("ytf-lfw", "Pooling (2); Proposed, k-NN (1)", "VGGFace2_ft, accuracy", "73.16±0.0"),
        ("ijb-a", "Pooling (2); k-NN (1)/MAP (7)", "ResFace, accuracy", "50.35±0.2"),
        ("ann-error", "SVM", "VGGNet, chi-squared, error", "-"),
        ("compression", "XNOR-Net", "accuracy", "58.81"),
        ("yt8m-text", "Title", "Hit@1", "71"),
        ("yt8m-text-models", "Unigram", "GAP", "22.60%"),
        ("yt8m-models", "DBOF B", "GAP", "80.18"),
        ("bair-masks", "3D ResNET Included(Frozen), Transformer Layer + Conv.Layer", "IoU", "0.79"),
        ("bair-masks", "Transformer Included, Linear Layer + Conv. Layers", "IoU", "0.225"),
        ("distill-imagenet-100", "20 images a class, ResNetAP-10", "Ours", "32.3 ± 0.6"),
        ("distill-tiny-imagenet", "50 images a class", "RDED", "58.2±0.1"),
        ("sact-coco", "SACT τ = 0.005", "FLOPs", "56.0±8.5"),
    ],
)
def test_cells_by_eye(table, row, column, printed):
    assert published(table).cell(row, column).printed == printed


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'caltech-101'"):
        published("caltech101")
    with pytest.raises(UnknownNameError, match="no row 'SWM': did you mean 'SVM'"):
        published("caltech-101").cell("SWM", "Inception v1, error")
    with pytest.raises(UnknownNameError, match="no column"):
        published("caltech-101").cell("SVM", "Inception v1, eror")


def test_a_table_with_a_hole_is_refused():
    values = json.loads((FOLDER / "caltech-101.json").read_text())
    for change in (lambda cells: cells.pop(), lambda cells: cells.append(cells[0])):
        wrong = copy.deepcopy(values)
        change(wrong["cells"])
        with pytest.raises(InvalidValueError, match="each once"):
            table_from(wrong)
    with pytest.raises(InvalidValueError, match="schema must be"):
        table_from({**values, "schema": "lightmeter.published/9"})
