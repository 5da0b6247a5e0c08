"""The text set: files of several shapes, what is lost where, the split, the plots, the blocks."""

from __future__ import annotations

import gzip
import itertools
import json

import numpy as np
import pytest

from lightmeter.encoders.codebook import KMeans
from lightmeter.encoders.protocol import Encoder
from lightmeter.encoders.text_words import TextOptions
from lightmeter.encoders.word_vectors import WordVectors
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.heads.examples import ArrayExamples, Block
from lightmeter.library import text_files
from lightmeter.library.example_set import open_set
from lightmeter.library.example_writing import ShardRows, write_set
from lightmeter.library.text_blocks import encoded_block, fit_codebook, keyword_block, title_block, with_blocks
from lightmeter.library.text_files import TextFiles, VideoText, video_text
from lightmeter.library.text_set import (
    STEPS,
    common_label_words,
    common_words,
    common_words_png,
    development,
    table_1,
    text_set,
)  # fmt: skip
from lightmeter.parts import build
from lightmeter.types import Labels, Words

WORDS = ("cat", "dog", "game", "play", "red", "blue")


@pytest.fixture
def options(tmp_path):
    rows = np.random.default_rng(0).normal(size=(len(WORDS) + 1, 4)).astype(np.float32)
    rows[0] = 0
    WordVectors(WORDS, rows).save(tmp_path / "vectors")
    return TextOptions(vectors=str(tmp_path / "vectors"))


# -- files ------------------------------------------------------------------------------------------------------------

VIDEOS = {
    '{"id": "a", "snippet": {"title": "A cat", "tags": ["cat", "cute"]}}': VideoText("a", "A cat", ("cat", "cute")),
    '{"id": {"kind": "x", "videoId": "a"}, "snippet": {"title": "t"}}': VideoText("a", "t"),
    '{"id": "a", "title": "t", "keywords": ["k", 3, "l"]}': VideoText("a", "t", ("k", "l")),
    '{"video_id": "a", "keywords": "k, l"}': VideoText("a", "", ("k, l",)),
    '{"videoId": "a", "title": null, "tags": null}': VideoText("a"),
    '{"id": "a", "title": 7, "tags": {"x": 1}}': VideoText("a"),
    '{"id": "a", "status": {"embeddable": false}}': VideoText("a", embeddable=False),
    '{"id": "a", "embeddable": false}': VideoText("a", embeddable=False),
    '{"id": "a", "error": "404"}': VideoText("a", gone=True),
    '{"id": "a", "snippet": {"title": "Deleted video"}}': VideoText("a", "Deleted video", gone=True),
    '{"id": "a", "status": {"privacyStatus": "private"}}': VideoText("a", gone=True),
    '{"id": "a", "status": {"uploadStatus": "deleted"}}': VideoText("a", gone=True),
    '{"id": "a", "status": 3, "snippet": 4}': VideoText("a"),
    '{"title": "t"}': None,
    '{"id": ""}': None,
    '{"id": 3}': None,
}


@pytest.mark.parametrize(("line", "wanted"), VIDEOS.items())
def test_a_video_of_any_shape(line, wanted):
    assert video_text(json.loads(line)) == wanted


def test_files_are_read_line_by_line(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "MOST_LINE_BYTES", 200)
    lines = ['{"items": [{"id": "a"}, {"id": "b"}, 7]}', "", "no json", "[1]", '{"title": "t"}', '{"items": []}',
             json.dumps({"id": "long", "title": "x" * 500}), '{"id": "c"}', "[" * 100, '{"id": "\\ud800"}']  # fmt: skip
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write('{"id": "d"}\n')
    files = TextFiles([tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"])
    for _ in range(2):  # a second pass reads again
        assert [each.id for each in files] == ["a", "b", "c", "\ud800", "d"]
        assert files.counts == {"videos": 5, "broken": 4, "no id": 1, "too long": 1}


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(RejectedFileError, match="must be a file of JSON lines"):
        list(TextFiles([tmp_path]))
    (tmp_path / "torn.gz").write_bytes(gzip.compress(b'{"id": "a"}\n' * 100)[:-9])
    with pytest.raises(RejectedFileError, match=r"torn\.gz breaks off"):
        list(TextFiles([tmp_path / "torn.gz"]))


# -- what is lost -----------------------------------------------------------------------------------------------------

TEXTS = [
    VideoText("both", "The CAT plays", ("Dog", "red game")),
    VideoText("title", "cat"),
    VideoText("tags", "Катя", ("dog", "dog")),
    VideoText("foreign", "Катя", ("кот",)),
    VideoText("rare", "sofa", ("sofa",)),
    VideoText("shut", "cat", ("dog",), embeddable=False),
    VideoText("dead", gone=True),
    VideoText("both", "dog", ("cat",)),
    VideoText("other set", "dog"),
]
IDS = ("both", "title", "tags", "foreign", "rare", "shut", "dead", "missing")


def test_what_is_lost_and_why(options):
    made = text_set(IDS, TEXTS, options, lexicon={"sofa"})
    assert made.titles[:3] == (("cat",), ("cat",), ())
    assert made.keywords[:3] == (("dog", "red", "game"), (), ("dog", "dog"))
    why = [[STEPS[at] for at in row] for row in made.lost]
    assert why == [
        ["kept", "kept"], ["kept", "none given"], ["not English", "kept"], ["not English", "not English"],
        ["no word vector", "no word vector"], ["kept", "kept"], ["gone", "gone"], ["gone", "gone"],
    ]  # fmt: skip
    assert made.counts == {
        "videos": 8, "with keywords": 3, "with title": 3, "with both": 2, "unique keywords": 3,
        "keywords a video": pytest.approx(6 / 3),
    }  # fmt: skip


def test_losses_add_up(options):
    rows = text_set(IDS, TEXTS, options, embeddable_only=True, lexicon={"sofa"}).losses()
    assert [row["step"] for row in rows] == ["all videos", *STEPS[1:]]
    for part in ("titles", "keywords", "both"):
        left = [row[f"{part} left"] for row in rows]
        assert [before - after for before, after in itertools.pairwise(left)] == [
            row[f"{part} lost"] for row in rows[1:]
        ]
        assert rows[-1][f"{part} left, share"] == left[-1] / 8
    assert [row["both lost"] for row in rows[1:]] == [2, 1, 1, 2, 1, 0]
    assert (rows[-1]["titles left"], rows[-1]["keywords left"], rows[-1]["both left"]) == (2, 2, 1)


def test_as_published(options, tmp_path):
    (tmp_path / "us.txt").write_text("dog\nred\nsofa\n")
    published = TextOptions(
        vectors=options.vectors, profile="code", english="published", lexicon=str(tmp_path / "us.txt")
    )
    made = text_set(IDS, TEXTS, published)
    assert made.titles == ((), ("cat",), (), (), (), ("cat",), (), ())  # CAT has no vector
    assert made.keywords == (("dog", "red"), (), ("dog", "dog"), (), (), ("dog",), (), ())
    assert [STEPS[at] for at in made.lost[3]] == ["no word vector", "not English"]  # titles know no language
    assert [STEPS[at] for at in made.lost[4]] == ["no word vector", "no word vector"]


def test_table_1_has_the_seeds_shape(options):
    made = text_set(IDS, TEXTS, options)
    rows = table_1({"Train.": made, "Dev.": made.take(made.lost[:, 0] == 0)})
    assert rows == [
        {"": "videos", "Train.": 8, "Dev.": 3},
        {"": "with keywords", "Train.": 3, "Dev.": 2},
        {"": "with title", "Train.": 3, "Dev.": 3},
        {"": "with both", "Train.": 2, "Dev.": 2},
    ]


def test_doubled_ids_are_refused(options):
    with pytest.raises(InvalidValueError, match="each once, 1 are doubled"):
        text_set(["a", "a"], [], options)


# -- the split and the plots ------------------------------------------------------------------------------------------


def test_the_development_split_is_the_ids_own():
    ids = [f"video {number}" for number in range(4000)]
    chosen = development(ids, 0.2)
    assert 0.18 < chosen.mean() < 0.22
    assert (development(ids[::-1], 0.2) == chosen[::-1]).all(), "whatever the order and the others"
    assert (chosen <= development(ids, 0.4)).all(), "a larger one holds the smaller one"
    assert (development(ids, 0.2, seed=1) != chosen).any()
    assert not development(ids, 0).any()
    assert development(ids, 1).all()
    # printf "0 aaaa" | sha256sum … begins with f; aaab b, aaac 9, aaad 2, aaae 4: the last two are below one half
    assert development(["aaaa", "aaab", "aaac", "aaad", "aaae"], 0.5).tolist() == [False, False, False, True, True]
    with pytest.raises(InvalidValueError, match="share must be 0 to 1"):
        development(ids, 2)


def test_the_commonest_words(tmp_path):
    assert common_words([("b", "a"), ("b", "c")], 2) == {"b": 2, "a": 1}
    labels = Labels.of([[0, 1], [1], [2]], 4)
    counts = common_label_words(labels, ["Video game", "Game (PC)", "Dance", "Never"])
    assert counts == {"game": 3, "pc": 2, "dance": 1, "video": 1}
    png = common_words_png(counts, tmp_path / "labels.png", title="Labels")
    assert png[:4] == b"\x89PNG"
    assert (tmp_path / "labels.png").read_bytes() == png


# -- blocks -----------------------------------------------------------------------------------------------------------


def visual(ids):
    values = np.arange(2.0 * len(ids), dtype=np.float32).reshape(-1, 2)
    labels = Labels.of([[row % 2] for row in range(len(ids))], 2)
    return ArrayExamples((Block("visual", "features", 2),), {"visual": values}, ids, ("even", "odd"), labels)


def test_blocks_are_what_the_encoders_give(options, tmp_path):
    made = text_set(IDS, TEXTS, options)
    fit_codebook(made, KMeans(3)).save(tmp_path / "codebook")
    keywords, (title, cut) = keyword_block(made, tmp_path / "codebook"), title_block(made, length=2)
    words = [Words(each.title, each.keywords) for each in TEXTS[:6]]
    for block in (*keywords.blocks, *title.blocks):
        encoder: Encoder = build(block.made_by, "encoder")
        values = (keywords if block.name == "keywords" else title).values[block.name]
        np.testing.assert_array_equal(values[:6], encoder.encode(words))
        assert not values[6:].any()
    assert cut == 0
    assert title_block(text_set(["x"], [VideoText("x", "cat dog cat")], options), length=2)[1] == 1
    assert title.present[:, 0].tolist() == [True, True, False, False, False, True, False, False]
    assert keywords.present[:, 0].tolist() == [True, False, True, False, False, True, False, False]


def test_the_codebook_weighs_words_by_their_counts(options):
    texts = [VideoText(str(row), "", ("cat",) if row else ("dog", "red")) for row in range(50)]
    made = text_set([each.id for each in texts], texts, options)
    vectors = options.opened()
    centre = fit_codebook(made, KMeans(1)).centres[0]
    tokens = vectors.numbers([word for words in made.keywords for word in words])
    np.testing.assert_allclose(centre, vectors.table[tokens].mean(axis=0), rtol=1e-5)


def test_joined_by_id_and_written(options, tmp_path):
    made = text_set(IDS, TEXTS, options)
    title, _ = title_block(made, length=3)
    whole = visual(("title", "new", "both"))
    joined = with_blocks(whole, title)
    assert [block.name for block in joined.blocks] == ["visual", "title"]
    batch = joined.batch(np.array([2, 1, 0]))
    assert batch.values["title"].tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert batch.values["title"].dtype == np.int32
    assert batch.present.tolist() == [[True, True], [True, False], [True, True]]
    assert batch.labels.dense().tolist() == [[True, False], [False, True], [True, False]]
    assert joined.fingerprint != with_blocks(whole, title_block(made, length=3, name="other")[0]).fingerprint
    assert joined.fingerprint == with_blocks(whole, title).fingerprint

    rows = joined.batch(np.arange(len(joined)))
    shard = ShardRows(joined.ids, rows.values, rows.labels, rows.present)
    write_set(tmp_path / "set", joined.blocks, joined.label_names, [shard])
    again = open_set(tmp_path / "set").batch(np.array([2, 1, 0]))
    np.testing.assert_array_equal(again.values["title"], batch.values["title"])
    np.testing.assert_array_equal(again.present, batch.present)


def test_any_encoder_of_words_makes_a_block():
    words = [Words("a cat"), Words(""), Words("", ("red ship",))]
    block = encoded_block(["a", "b", "c"], words, build("bge-small"))
    assert block.blocks[0].dim == 384
    assert block.present[:, 0].tolist() == [True, False, True]
    with pytest.raises(InvalidValueError, match="encodes image: take an encoder of words"):
        encoded_block(["a"], words[:1], build("color-histogram"))


def test_what_cannot_be_joined_is_refused():
    whole = visual(("a", "b"))
    with pytest.raises(InvalidValueError, match="two called visual"):
        with_blocks(whole, visual(("a",)))
    frames = ArrayExamples((Block("rgb", "frames", 2),), {"rgb": [np.zeros((1, 2))]}, ("a",), ())
    with pytest.raises(InvalidValueError, match="frames can't be joined"):
        with_blocks(whole, frames)
    other = ArrayExamples((Block("x", "features", 1),), {"x": np.zeros((2, 1), np.float32)}, ("a", "a"), ())
    with pytest.raises(InvalidValueError, match="each once"):
        with_blocks(whole, other)
