"""The seed's tables of Caltech-101 and Caltech-256, rerun: which classifier of features is cheapest at what error?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from lightmeter.studies.candidates import class_means_row, head_row, index_row, majority_row, rule_row
from lightmeter.studies.comparison import Beside, Section, Study
from lightmeter.studies.declared import Asked, Scale
from lightmeter.studies.galleries import Gallery, mixture
from lightmeter.studies.real_galleries import emoji, fashion, photographs, stamps
from lightmeter.studies.user_gallery import user_gallery

MOST_MARGIN_WORK, MOST_FOREST_WORK = 1_300_000_000, 25_000_000
"""Rows x dimensions x classes, and rows x classes x √dimensions, beyond which a fit takes over two CPU-minutes."""


def _margin_is_dear(gallery: Gallery, scale: Scale) -> str:
    work = len(gallery.x) * gallery.x.shape[1] * len(gallery.classes)
    return _too_dear(gallery) if scale != "paper" and work > MOST_MARGIN_WORK else ""


def _forest_is_dear(gallery: Gallery, scale: Scale) -> str:
    work = len(gallery.x) * len(gallery.classes) * gallery.x.shape[1] ** 0.5
    return _too_dear(gallery) if scale != "paper" and work > MOST_FOREST_WORK else ""


def _too_dear(gallery: Gallery) -> str:
    rows, dim = gallery.x.shape
    return f"{rows:,} x {dim:,} in {len(gallery.classes)} classes take over two minutes to fit, more than cpu allows"


def _sections(asked: Asked) -> Sequence[Section]:
    seed, tell = asked.seed, asked.tell
    inception = "Inception v1, error", "Inception v1, time"
    vgg = "VGGNet-19, error", "VGGNet-19, time"
    if asked.data is not None:
        table = "caltech-256" if "256" in asked.data.name else "caltech-101"
        make = partial(user_gallery, asked.data, encoder=asked.encoder, seed=seed, tell=tell)
        return [Section(asked.data.name, make, Beside(table, *inception))]
    if asked.scale == "smoke":
        return [
            Section("mixture, 20 classes", partial(mixture, "smoke", seed=seed), Beside("caltech-101", *inception)),
            Section("photographs", partial(photographs, seed=seed, tell=tell)),
        ]
    mixtures = [("101", "", inception), ("101", "-vgg", vgg), ("256", "", inception), ("256", "-vgg", vgg)]
    return [
        *(
            Section(
                f"as large as Caltech-{size}, {columns[0].partition(',')[0]}",
                partial(mixture, f"caltech-{size}{net}", seed=seed),
                Beside(f"caltech-{size}", *columns),
            )
            for size, net, columns in mixtures
        ),
        Section("emoji, sub-categories", partial(emoji, "subcategory", queries=1000, seed=seed, tell=tell)),
        Section("stamps", partial(stamps, seed=seed, tell=tell)),
        Section("clothes", partial(fashion, 3000, queries=1000, seed=seed, tell=tell)),
    ]


CALTECH = Study(
    name="caltech",
    question="Which classifier of deep features is cheapest at which error, on galleries of Caltech's sizes?",
    rows=(
        majority_row(),
        class_means_row(),
        head_row("SVM", "svm/kernel=rbf", "seed", published="SVM"),
        head_row("linear SVM", "svm", "baseline", skip=_margin_is_dear),
        head_row("random forest", "forest", "seed", published="RF", skip=_forest_is_dear),
        index_row("NN, all", "brute", "baseline", published="NN, all"),
        head_row("NN, 256 features", "knn/first=256", "seed", published="NN, 256 features"),
        head_row("NN, 64 PCA features", "knn/pca=64", "seed", published="NN, 64 PCA features"),
        rule_row("TWD, posteriors", "three-way/rule=posteriors", "seed", published="TWD (15), (16), posteriors (4)"),
        rule_row("TWD, Bayes factor", "three-way/rule=bayes-factor", "seed", published="TWD (15), (16), BF (8)"),
        rule_row("TWD, distance factor", "three-way/rule=distance-factor", "seed", published="TWD (15), (16), DF (22)"),
        rule_row("TWD proposed, m = 32", "three-way/m=32", "seed", published="Proposed TWD, m = 32"),
        rule_row("TWD proposed, m = 64", "three-way/m=64", "seed", published="Proposed TWD, m = 64", confident=True),
        index_row("granular, exact", "granular", "ours", confident=True),
        index_row("granular, calibrated to 1 %", "granular/alpha=0.01", "ours"),
        head_row("ridge", "ridge", "baseline", confident=True),
        index_row("faiss HNSW", "faiss/kind=hnsw", "peer"),
    ),
    sections=_sections,
    notes=(
        "rows are made unit length; times of ours pay the projection",
        "the seed does not say its SVM's kernel; its time, about that of NN, all, is a kernel machine's",
    ),
    gallery_notes=(
        "published cells are of other data and another machine, and their times leave out the projection",
        "mixtures are drawn by chance at the seed's sizes and error levels",
        "mixtures flatter linear classifiers: no conclusion should rest on them alone",
        "emoji: gallery by one maker, queries by another; transparency is laid on white",
    ),
)
