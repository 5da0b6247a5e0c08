"""Asking a library: real pictures by words, picture, video and sound; nonsense finds nothing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from media_folder import gallery, indexed, picture, video
from PIL import Image as Pillow

from lightmeter.engines.inline import Inline
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.library.calibrating import calibrate, null_of, usable
from lightmeter.library.duplicates import exact_groups, near_groups
from lightmeter.library.facts import chosen_paths, facts_of, library_facts, status_facts
from lightmeter.library.filters import Where
from lightmeter.library.indexing import IndexOptions, index
from lightmeter.library.looking import thumbnails
from lightmeter.library.searching import kind_of_query, search
from lightmeter.library.showing import sheet_of, sheet_of_files, sheet_of_hits, strip_of
from lightmeter.library.store import open_library
from lightmeter.library.tagging import set_by_hand, tag_builtin, tag_with
from lightmeter.media.sound import read_sound
from lightmeter.parts import build
from lightmeter.report.pictures import wav_bytes
from lightmeter.search.exact import scan
from lightmeter.studies.sources import package_folder
from lightmeter.types import Item, Sound


def name(hit):
    return os.path.basename(hit.path)


def size_of(path):
    with Pillow.open(path) as opened:
        return opened.size


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """scikit-image's sample pictures and two sounds, indexed once with the default encoders."""
    place = package_folder("skimage")
    if place is None:
        pytest.skip("scikit-image's pictures are not installed: pip install 'lightmeter[demo]'")
    base = tmp_path_factory.mktemp("samples")
    media = base / "media"
    media.mkdir()
    for file in (place / "data").iterdir():
        if file.suffix in (".png", ".jpg"):
            (media / file.name).write_bytes(file.read_bytes())
    rng = np.random.default_rng(0)
    for at, register_hz in enumerate((220.0, 700.0, 1900.0)):
        steps = register_hz * rng.choice([1.0, 1.25, 1.5, 1.75, 2.0], 24)
        t = np.arange(8000 // 4) / 8000
        tune = np.concatenate([0.4 * np.sin(2 * np.pi * step * t) * np.exp(-6 * t) for step in steps])
        tune += rng.normal(0, 0.004, len(tune))
        (media / f"tune-{at}.wav").write_bytes(wav_bytes(Sound(tune.astype(np.float32), 8000), longest_s=60))
    noise = rng.normal(0, 0.1, 8000 * 4).astype(np.float32)
    (media / "noise.wav").write_bytes(wav_bytes(Sound(np.clip(noise, -1, 1), 8000), longest_s=60))
    assert index([media], base / "l", IndexOptions(engine=Inline())).failed == {}
    with open_library(base / "l", write=True) as library:
        yield library, media


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("a cat", "chelsea.png"),
        ("a cup of coffee", "coffee.png"),
        ("a rocket launch", "rocket.jpg"),
        ("a motorbike", "motorcycle_left.png"),
    ],
)
def test_words_find_the_picture_first(samples, query, found):
    answer = search(samples[0], query)
    assert name(answer.hits[0]) == found
    assert answer.kind == "words"


@pytest.mark.parametrize("query", ["quarterly tax report", "xqzt blorp", "the meaning of life"])
def test_nonsense_finds_nothing_and_says_how_near_it_came(samples, query):
    answer = search(samples[0], query)
    assert answer.hits == []
    assert {source.evidence for source in answer.sources} == {"picture", "words"}
    assert all(source.nearest < source.null.threshold for source in answer.sources)
    assert len(search(samples[0], query, everything=True).hits) == 10


def test_every_source_shows_its_errors(samples):
    for source in search(samples[0], "a cat").sources:
        assert source.null.false_alarm == pytest.approx(3 / 151)
        assert source.null.queries == 150
        assert source.fresh
        assert "false alarms 2.0%, misses" in source.said()


def test_a_picture_finds_its_crop(samples, tmp_path):
    with Pillow.open(samples[1] / "rocket.jpg") as rocket:
        pixels = np.asarray(rocket)
    height, width = pixels.shape[:2]
    middle = pixels[height // 6 : -height // 6, width // 6 : -width // 6]
    Pillow.fromarray(middle).save(tmp_path / "crop.jpg", quality=60)
    assert [name(hit) for hit in search(samples[0], str(tmp_path / "crop.jpg")).hits][:1] == ["rocket.jpg"]


def test_an_unrelated_picture_finds_nothing(samples, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    Pillow.fromarray(noise).save(tmp_path / "noise.png")
    assert search(samples[0], str(tmp_path / "noise.png")).hits == []


def test_a_sound_finds_its_twin(samples, tmp_path):
    original = read_sound(samples[1] / "tune-1.wav", rate_hz=8000).value
    noise = np.random.default_rng(1).normal(0, 0.002, len(original.samples))
    twin = Sound((original.samples / 3 + noise).astype(np.float32), 8000)
    (tmp_path / "twin.wav").write_bytes(wav_bytes(twin, longest_s=60))
    hits = search(samples[0], str(tmp_path / "twin.wav")).hits
    assert name(hits[0]) == "tune-1.wav"
    assert hits[0].evidence == "sound"


def test_filters_hold_for_every_way_to_ask(samples):
    assert search(samples[0], "a cat", where=Where(kind="sound")).hits == []
    assert {hit.item.kind for hit in search(samples[0], None, where=Where(kind="sound")).hits} == {"sound"}


def test_names_are_a_source_of_their_own(samples):
    hits = search(samples[0], "a chess board").hits
    assert name(hits[0]).startswith("chessboard")
    assert "name" in hits[0].evidence
    assert hits[0].evidence.startswith("words: ")


def test_words_that_stand_there_come_first(samples):
    hits = search(samples[0], "the rocket").hits
    assert name(hits[0]) == "rocket.jpg"
    assert hits[0].evidence == "exact: name 'rocket'"
    assert hits[0].score is None


def test_words_that_no_encoder_knows_are_not_guessed(samples):
    answer = search(samples[0], "猫の写真")
    assert answer.hits == []
    assert any("reads English" in note for note in answer.notes)


def test_builtin_labels_and_labels_of_ones_own(samples):
    tagged = {os.path.basename(each.path): dict(each.tags) for each in tag_builtin(samples[0])}
    assert tagged["coffee.png"]["espresso"] > 0.9
    named = tag_with(samples[0], ["cat", "motorcycle", "coffee cup"])
    own = {os.path.basename(each.path): each.tags[0][0] for each in named}
    assert own["chelsea.png"] == "cat"
    assert own["motorcycle_left.png"] == "motorcycle"
    assert "brick.png" not in own
    where = Where(tags=("espresso",))
    assert [name(hit) for hit in search(samples[0], None, where=where).hits] == ["coffee.png"]


def test_labels_by_hand_stay(samples):
    library, media = samples
    assert set_by_hand(library, [media / "brick.png"], add=["wall"], drop=["maze"]) == 1
    tag_with(library, ["wall"], at_least=-1.0)
    key = library.known_path(media / "brick.png").key
    assert [(t.tag, t.score) for t in library.tags_of([key])[key] if t.tag == "wall"] == [("wall", None)]
    with pytest.raises(InvalidValueError, match="PATH must be in the library"):
        set_by_hand(library, [media / "none.png"], add=["x"])


def test_facts(samples):
    library, media = samples
    facts = library_facts(library)
    assert facts["items"] == facts["kinds"]["image"] + facts["kinds"]["sound"]
    assert facts_of(library, media / "chelsea.png")["width"] == 451
    assert status_facts(library)[0]["states"] == {"ok": facts["items"]}
    with pytest.raises(InvalidValueError, match="index it first"):
        facts_of(library, Path("/nowhere.png"))
    assert list(chosen_paths(library, [media / "chelsea.png"], None).values()) == [str(media / "chelsea.png")]
    assert len(chosen_paths(library, [media / "chelsea.png"], Where(kind="image"))) == 1, "each condition narrows"
    assert chosen_paths(library, [media / "chelsea.png"], Where(kind="sound")) == {}
    assert chosen_paths(library, [], Where(kind="image"), missing=True) == {}
    assert len(chosen_paths(library, [], Where(kind="sound"))) == 4
    assert chosen_paths(library, [], None) == {}


def test_pictures_of_a_library(samples, tmp_path):
    library, media = samples
    keys = library.items(Where(kind="image")).keys[:7].tolist()
    assert sheet_of(library, keys, tmp_path / "s.png", columns=3) == 7
    assert min(size_of(tmp_path / "s.png")) > 600
    assert sheet_of_files([media / "chelsea.png", media / "noise.wav"], tmp_path / "t.png") == 2
    with pytest.raises(InvalidValueError, match="FILE must exist"):
        sheet_of_files([tmp_path / "none.png"], tmp_path / "t.png")
    sound, nothing = thumbnails([(media / "noise.wav", None), (tmp_path / "none.png", None)], short_side=100)
    assert sound == "sound"
    assert isinstance(nothing, str)


def test_queries_that_make_no_sense_are_refused(samples, tmp_path):
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile x\n")
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(InvalidValueError, match="a file that exists"):
        search(samples[0], "missing.jpg")
    with pytest.raises(InvalidValueError, match="got nothing"):
        search(samples[0], "  ")
    with pytest.raises(InvalidValueError, match="picture, video or sound"):
        search(samples[0], str(tmp_path / "a.txt"))
    with pytest.raises(RejectedFileError, match="disguise"):
        search(samples[0], str(tmp_path / "list.mp4"))
    with pytest.raises(InvalidValueError, match="k must be at least 1"):
        search(samples[0], "a cat", k=0)
    assert kind_of_query("a photo of file.jpg") == "words"


def test_a_video_answers_with_the_moment(tmp_path):
    gallery(tmp_path / "media")
    video(tmp_path / "media" / "v.mp4", ["grey", "red", "grey"])
    indexed(tmp_path / "media", tmp_path / "l")
    with open_library(tmp_path / "l") as library:
        hits = search(library, str(picture(tmp_path / "q.png", "red", seed=1000)), everything=True).hits
        [clip] = [hit for hit in hits if hit.item.kind == "video"]
        assert clip.time_s == 1.0
        with pytest.raises(InvalidValueError, match="--by sound needs"):
            search(library, str(tmp_path / "q.png"), by="sound")
        [hit] = [hit for hit in hits if hit.item.kind == "video"]
        sheet_of_hits([hit], tmp_path / "hit.png")
        with Pillow.open(tmp_path / "hit.png") as sheet:
            red, green, _ = np.asarray(sheet.convert("RGB"))[sheet.height // 3, sheet.width // 2]
        assert red > 2 * green, "the frame that matched is drawn, not the first one"
        strip_of(tmp_path / "media" / "v.mp4", tmp_path / "strip.png", count=3)
        assert size_of(tmp_path / "strip.png")[0] > 500


def test_duplicates_exact_and_near(tmp_path):
    media = gallery(tmp_path / "media", per_colour=1)
    (media / "copy.png").write_bytes((media / "red-0.png").read_bytes())
    with Pillow.open(media / "blue-0.png") as blue:
        blue.save(media / "blue.jpg", quality=95)
    indexed(media, tmp_path / "l")
    with open_library(tmp_path / "l") as library:
        [exact] = exact_groups(library)
        assert sorted(os.path.basename(p) for p in exact.paths) == ["copy.png", "red-0.png"]
        near = near_groups(library, at_least=0.9)
        assert [sorted(os.path.basename(p) for p in g.paths) for g in near] == [["blue-0.png", "blue.jpg"]]
        assert 0.9 <= near[0].score <= 1
        with pytest.raises(InvalidValueError, match="at_least must be"):
            near_groups(library, at_least=0)


def test_an_empty_library_answers_with_nothing(tmp_path):
    (tmp_path / "media").mkdir()
    indexed(tmp_path / "media", tmp_path / "l")
    with open_library(tmp_path / "l") as library:
        answer = search(library, "anything at all")
        assert (answer.hits, answer.sources, answer.notes) == ([], [], ["the library is empty"])
        assert near_groups(library) == []
        with pytest.raises(InvalidValueError, match="at least one item"):
            sheet_of(library, [], tmp_path / "s.png")


def test_a_video_of_many_frames_answers_unrelated_pictures_no_more_often_than_said(tmp_path):
    """Random features, nothing is related: the share that is answered must be what the null says."""
    rng = np.random.default_rng(3)
    for frames in (1, 40):
        folder = tmp_path / f"l{frames}"
        with open_library(folder, create=True) as library:
            items = [Item(f"{at:064x}", "video", at) for at in range(60)]
            with library.transaction():
                keys = np.array(library.add_contents(items))
                series = library.series("color-histogram/bins=4", "item", 64)
                vectors = rng.standard_normal((60 * frames, 64)).astype(np.float32)
                library.append(series, np.repeat(keys, frames), vectors, np.tile(np.arange(frames, dtype=float), 60))
            encoder = build("color-histogram/bins=4")
            null, fresh = null_of(library, library.series(series.spec), encoder)
            assert fresh
            assert null.threshold > 0.3
            calibrate(library)
            queries = rng.standard_normal((400, 64)).astype(np.float32)
            answered = np.mean(scan(library.features(series).blocks(), queries).best.max(axis=1) >= null.threshold)
            assert answered <= 0.15, (frames, answered, null)


def test_the_path_that_is_shown_fits_the_filter_and_says_when_it_is_gone(tmp_path):
    media = gallery(tmp_path / "media", per_colour=1)
    (media / "backup").mkdir()
    (media / "backup" / "copy.png").write_bytes((media / "red-0.png").read_bytes())
    indexed(media, tmp_path / "l")
    with open_library(tmp_path / "l") as library:
        [hit] = search(library, None, where=Where(path_glob="*/media/red-*")).hits
        assert name(hit) == "red-0.png"
        [hit] = search(library, None, where=Where(path_glob="*/backup/*")).hits
        assert name(hit) == "copy.png"
    (media / "blue-0.png").unlink()
    indexed(media, tmp_path / "l")
    with open_library(tmp_path / "l") as library:
        assert [name(hit) for hit in search(library, None, where=Where(kind="image")).hits if hit.missing] == [
            "blue-0.png"
        ]


def test_labels_of_an_earlier_call_stay(samples):
    tag_with(samples[0], ["cat", "motorcycle"])
    tag_with(samples[0], ["coffee cup"])
    assert {"cat", "motorcycle", "coffee cup"} <= set(samples[0].tag_counts())


def test_many_copies_of_one_picture_hide_no_other(tmp_path):
    media = gallery(tmp_path / "media", per_colour=1)
    for at in range(30):
        (media / f"tomato-{at}.png").write_bytes((media / "red-0.png").read_bytes())
    picture(media / "tomato-other.png", "green", seed=5)
    index([media], tmp_path / "l", IndexOptions(encoders=("color-histogram",), engine=Inline()))
    with open_library(tmp_path / "l") as library:
        hits = search(library, "tomato", k=5).hits
        assert len({hit.item.id for hit in hits}) == len(hits) >= 2


def test_a_series_whose_encoder_is_gone_is_named_and_passed_over(tmp_path):
    indexed(gallery(tmp_path / "media", per_colour=1), tmp_path / "l")
    with open_library(tmp_path / "l", write=True) as library:
        library.series("zzz/evil=1", "item", 4)
        [note] = search(library, str(tmp_path / "media" / "red-0.png")).notes
        assert "zzz/evil=1" in note
        assert library_facts(library)["unusable"] == ["zzz/evil=1"]
        calibrate(library)


def test_twins_count_once_and_go_with_their_items(tmp_path):
    media = gallery(tmp_path / "media", per_colour=3)
    for _ in range(2):
        for file in media.iterdir():
            file.touch()
        indexed(media, tmp_path / "l")
    with open_library(tmp_path / "l", write=True) as library:
        [(series, encoder)] = usable(library)
        assert null_of(library, series, encoder)[0].related == 12
        library.remove(library.items().keys[:5].tolist())
        stale, fresh = null_of(library, series, encoder)
        assert (stale.related, fresh) == (12, False)
        assert "measured before the last change" in search(library, str(media / "red-0.png")).sources[0].said()
        calibrate(library)
        assert null_of(library, series, encoder)[0].related == 7


def test_a_burst_of_alike_pictures_is_one_group(tmp_path):
    with open_library(tmp_path / "l", create=True) as library, library.transaction():
        keys = library.add_contents([Item(f"{at:064x}", "image", at) for at in range(3000)])
        for at, key in enumerate(keys):
            library.add_path(f"/m/{at:04}.jpg", int(key), size_bytes=at, mtime_ns=at)
        rows = np.ones((3000, 64), np.float32) + np.random.default_rng(0).normal(0, 0.01, (3000, 64)).astype(np.float32)
        library.append(library.series("color-histogram/bins=4", "item", 64), np.array(keys), rows)
    with open_library(tmp_path / "l") as library:
        [group] = near_groups(library)
        assert len(group.paths) == 3000


def test_labels_need_the_right_features(tmp_path):
    indexed(gallery(tmp_path / "media", per_colour=1), tmp_path / "l")
    with open_library(tmp_path / "l", write=True) as library:
        with pytest.raises(InvalidValueError, match="--encoder efficientnet-lite"):
            tag_builtin(library)
        with pytest.raises(InvalidValueError, match="--encoder conse"):
            tag_with(library, ["red"])
        with pytest.raises(InvalidValueError, match="got none"):
            tag_with(library, [" "])


def test_a_library_that_cannot_be_written_can_be_searched(tmp_path):
    indexed(gallery(tmp_path / "media", per_colour=1), tmp_path / "l")
    for place in [tmp_path / "l", *(tmp_path / "l").rglob("*")]:
        place.chmod(0o555 if place.is_dir() else 0o444)
    try:
        with open_library(tmp_path / "l") as library:
            assert search(library, str(tmp_path / "media" / "red-0.png")).hits
    finally:
        for place in [tmp_path / "l", *(tmp_path / "l").rglob("*")]:
            place.chmod(0o755 if place.is_dir() else 0o644)
