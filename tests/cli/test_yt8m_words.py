"""`lightmeter yt8m words`: what is joined, lost and told, and that every head learns from it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from test_commands import rows, run

from lightmeter.encoders.codebook import Codebook
from lightmeter.encoders.word_vectors import WordVectors
from lightmeter.heads.answering import load_answering
from lightmeter.heads.examples import Block
from lightmeter.heads.unigram import Unigram, UnigramClassifier
from lightmeter.library.example_layout import Stored
from lightmeter.library.example_set import open_set
from lightmeter.library.example_writing import ShardRows, write_set
from lightmeter.library.yt8m.words import add_words
from lightmeter.library.yt8m.words_options import WordsOptions
from lightmeter.metrics.ranking import VideoScores
from lightmeter.types import Labels

WORDS = ("cat", "dog", "game", "play", "red", "blue", "new_york")
LABELS = ("Cat", "New York", "Game")
LINES = [
    {"id": "a", "snippet": {"title": "The CAT plays a red game", "tags": ["cat", "red game"]}},
    {"id": "b", "title": "кошка", "keywords": "dog, New York"},
    {"id": "c", "title": "blue dog", "tags": ["dog"], "embeddable": False},
    {"id": "d", "title": "Deleted video"},
    {"id": "e", "title": "", "tags": ["zebra"]},
    {"id": "other", "title": "dog"},
    "no video",
]


def vectors_of(words, folder, dim=4):
    table = np.random.default_rng(0).normal(size=(len(words) + 1, dim)).astype(np.float32)
    table[0] = 0
    WordVectors(tuple(words), table).save(folder)
    return folder


@pytest.fixture(autouse=True)
def undrawn(request, monkeypatch):
    """Plots cost half a second of each run: only the tests that look at them draw them."""
    if "by_hand" not in request.node.name:
        monkeypatch.setattr("lightmeter.library.yt8m.words._draw", lambda *told: None)


@pytest.fixture
def few(tmp_path):
    """Six items in shards of four and two; the texts of five of them, by hand; vectors of seven words."""
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, LINES)))
    vectors_of(WORDS, tmp_path / "vectors")
    chance = np.random.default_rng(1)
    labels = [[0, 2], [1], [], [0], [1], [2]]

    def shard(start, end):
        lengths = np.arange(start, end) % 3 + 1
        values = {
            "visual": chance.normal(size=(end - start, 5)).astype(np.float32),
            "rgb": chance.integers(0, 256, (int(lengths.sum()), 3), np.uint8),
        }
        present = np.ones((end - start, 2), bool)
        present[0, 0] = False
        ids = list("abcdef")[start:end]
        return ShardRows(ids, values, Labels.of(labels[start:end], 3), present=present, lengths=lengths)

    blocks = [Stored(Block("visual", "features", 5), "float32"), Stored(Block("rgb", "frames", 3), "uint8", 0.1, -1.0)]
    write_set(tmp_path / "set", blocks, LABELS, [shard(0, 4), shard(4, 6)], about={"quantised_by": "floor"})
    return tmp_path


def words(few, out, *more, texts="texts.jsonl", of="set"):
    files = (few / texts,) if texts else ()
    return run("yt8m", "words", few / of, *files, "--out", few / out, "--vectors", few / "vectors", *more)


def test_six_items_by_hand(few):
    code, out, _ = words(few, "out", "--clusters", 3, "--keyword-tokens", 4, "--length", 2, "--json", "-q")
    assert code == 3  # a line is no video
    (found,) = rows(out)
    assert found["schema"] == "lightmeter.yt8m.words/1"
    assert (found["videos"], found["with_title"], found["with_keywords"], found["with_both"]) == (6, 2, 3, 2)
    assert (found["unique_keywords"], found["keywords_a_video"]) == (5, 2)  # cat red game · dog new_york · dog
    lost = {
        row["step"]: (row.get("titles lost"), row.get("keywords lost"), row["both left"]) for row in found["losses"]
    }
    assert lost["gone"] == (2, 2, 4)  # d is deleted, nobody wrote about f
    assert lost["none given"] == (1, 0, 3)
    assert lost["not English"] == (1, 1, 2)
    assert found["cut"] == {"title": 1, "keyword-tokens": 0}  # cat red game; plays has no vector
    assert found["lines"] == {"videos": 6, "broken": 1}
    assert found["commonest"]["keywords"] == {"dog": 2, "cat": 1, "game": 1, "new_york": 1, "red": 1}
    assert json.loads((few / "out" / "words-report.json").read_text())["losses"] == found["losses"]
    for name in ("keywords", "title-words", "labels"):
        assert (few / "out" / f"common-{name}.png").read_bytes().startswith(b"\x89PNG")


def test_blocks_by_hand_and_its_own_to_the_bit(few):
    words(few, "out", "--clusters", 3, "--keyword-tokens", 4, "--length", 3, "-q")
    whole, made = open_set(few / "set"), open_set(few / "out")
    assert [each.name for each in made.blocks] == ["visual", "rgb", "keywords", "title", "keyword-tokens"]
    assert made.manifest.blocks[:2] == whole.manifest.blocks
    assert made.manifest.about["quantised_by"] == "floor"
    for at in range(2):
        for name in ("visual", "rgb"):
            np.testing.assert_array_equal(whole.stored(at, name), made.stored(at, name))
    before, batch = whole.batch(np.arange(6)), made.batch(np.arange(6))
    np.testing.assert_array_equal(before.lengths, batch.lengths)
    np.testing.assert_array_equal(before.labels.dense(), batch.labels.dense())
    number = {word: at for at, word in enumerate(WORDS, 1)}
    assert batch.values["keyword-tokens"][0].tolist() == [number["cat"], number["red"], number["game"], 0]
    assert batch.values["keyword-tokens"][1].tolist() == [number["dog"], number["new_york"], 0, 0]
    assert batch.values["title"][2].tolist() == [number["blue"], number["dog"], 0]
    histogram = np.zeros((6, 3))
    codebook, table = Codebook.load(few / "out" / "codebook"), WordVectors.load(few / "vectors").table
    for row, own in enumerate([("cat", "red", "game"), ("dog", "new_york"), ("dog",)]):
        for word in own:
            histogram[row, codebook.assign(table[[number[word]]])[0]] += 1
    np.testing.assert_array_equal(batch.values["keywords"], histogram)
    there = [[1, 1, 1], [1, 0, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(batch.present[:, 2:], np.array(there, bool))
    np.testing.assert_array_equal(batch.present[:, :2], before.present)
    assert made.verify() == []


def test_words_that_name_a_label_and_what_may_not_be_embedded(few):
    code, out, _ = words(few, "out", "--clusters", 2, "--without-labels", "phrase", "--embeddable-only", "--json", "-q")
    (found,) = rows(out)
    lost = {row["step"]: (row.get("titles lost"), row.get("keywords lost")) for row in found["losses"]}
    assert code == 3
    assert lost["not embeddable"] == (1, 1)
    assert found["commonest"]["keywords"] == {"dog": 1, "red": 1}
    # titles: of cat, (plays), red, game two name a label of `a`; keywords: two of three, and the phrase of two of `b`
    assert found["label_words_before"]["keywords"]["labels"] == 1
    assert found["label_words_before"]["titles"]["texts"] == 1


class TestSentences:
    def test_read_what_was_written_and_no_label_where_that_was_asked_for(self, few):
        words(few, "raw", "--clusters", 0, "--sentence", "bge-small", "-q")
        words(few, "bare", "--clusters", 0, "--sentence", "bge-small", "--without-labels", "phrase", "-q")
        from lightmeter.parts import build
        from lightmeter.types import Words

        raw, bare = (open_set(few / name).batch(np.arange(6)) for name in ("raw", "bare"))
        assert raw.present[:, -1].tolist() == [True, True, True, False, True, False]
        wanted = [
            Words("The CAT plays a red game", ("cat", "red game")), Words("кошка", ("dog, New York",)),
        ]  # fmt: skip
        encoder = build("bge-small", "encoder")
        np.testing.assert_allclose(raw.values["sentence"][:2], encoder.encode(wanted), atol=1e-3)
        wanted = [Words("The plays a red", ("red",)), Words("кошка", ("dog",))]
        np.testing.assert_allclose(bare.values["sentence"][:2], encoder.encode(wanted), atol=1e-3)


def test_a_set_of_segments_has_the_words_of_its_videos(few):
    labels = Labels.of([[0], [1], [1]], 3)
    values = {"visual": np.ones((3, 5), np.float32)}
    part = ShardRows(["a:0", "a:5", "b:0"], values, labels, rated=labels)
    write_set(few / "segments", [Block("visual", "features", 5)], LABELS, [part])
    words(few, "out", "--clusters", 2, of="segments")
    batch = open_set(few / "out").batch(np.arange(3))
    assert batch.present[:, 1].all()
    np.testing.assert_array_equal(batch.values["title"][0], batch.values["title"][1])
    assert batch.rated is not None


# -- stopped and told -------------------------------------------------------------------------------------------------


def test_a_stopped_run_goes_on_and_ends_alike(few):
    options = WordsOptions(vectors=str(few / "vectors"), clusters=3)
    whole, texts = open_set(few / "set"), [few / "texts.jsonl"]

    def stop(what, count):
        if what == "write":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_words(whole, texts, few / "out", options, told=stop)
    assert not (few / "out" / "set.json").exists()
    assert (few / "out" / "00000.json").exists()
    first = (few / "out" / "00000.keywords.npy").stat().st_mtime_ns
    made = add_words(whole, texts, few / "out", options)
    assert (few / "out" / "00000.keywords.npy").stat().st_mtime_ns == first
    straight = add_words(whole, texts, few / "straight", options)
    assert made.examples.fingerprint == straight.examples.fingerprint
    assert made.report == straight.report
    assert [each.name for each in sorted((few / "out").iterdir())] == [
        each.name for each in sorted((few / "straight").iterdir())
    ]
    again = add_words(whole, texts, few / "out", options)
    assert (again.again, again.report) == (True, made.report)


def test_a_run_that_was_stopped_before_its_first_shard_keeps_its_codebook(few, monkeypatch):
    options = WordsOptions(vectors=str(few / "vectors"), clusters=3)
    whole, texts = open_set(few / "set"), [few / "texts.jsonl"]
    monkeypatch.setattr("lightmeter.library.yt8m.words.SetWriter", None)
    with pytest.raises(AttributeError):
        add_words(whole, texts, few / "out", options)
    monkeypatch.undo()
    monkeypatch.setattr("lightmeter.library.yt8m.words.fit_codebook", None)
    made = add_words(whole, texts, few / "out", options)
    assert len(Codebook.load(few / "out" / "codebook")) == 3
    assert not (few / "out" / ".codebook").exists()
    assert len(made.examples) == 6


def test_what_does_not_fit_is_told(few, tmp_path):
    assert words(few, "out", "--clusters", 3, "-q")[0] == 3
    for more, wanted in (
        (("--clusters", 2), "made otherwise"),
        (("--clusters", 3, "--profile", "paper"), "made otherwise"),
    ):
        code, _, err = words(few, "out", *more, "-q")
        assert (code, wanted in err) == (1, True), err
    code, _, err = words(few, "again", "--clusters", 3, "-q", of="out")
    assert (code, "no block of words yet, got keywords" in err) == (1, True)
    code, _, err = words(few, "big", "-q")
    assert (code, "take fewer clusters" in err) == (1, True)
    assert not (few / "big" / "set.json").exists()
    (few / "strange.jsonl").write_text('{"id": "x", "title": "cat"}\n')
    code, _, err = words(few, "out2", "--clusters", 1, "-q", texts="strange.jsonl")
    assert (code, "such as 'a', got 1 texts" in err) == (1, True)
    code, _, err = words(few, "out3", "-q", texts="")
    assert (code, "has no words.jsonl" in err) == (2, True)
    code, _, err = words(few, "out4", "--clusters", 0, "--length", 0, "-q")
    assert (code, "a block to make" in err) == (1, True)
    for unheard in (("--metric", "l1"), ("--seed", 1)):
        code, _, err = words(few, "out5", "--clusters", 0, "--length", 5, *unheard, "-q")
        assert (code, f"{unheard[0]} is for the block keywords, which --clusters 0 leaves out" in err) == (2, True), err
    assert not any((few / name).exists() for name in ("again", "big", "out2", "out3", "out4", "out5")), "no trace"
    (few / "full").mkdir()
    (few / "full" / "letter.txt").write_text("keep me")
    assert "must be empty" in words(few, "full", "--clusters", 3, "-q")[2]
    assert [path.name for path in (few / "full").iterdir()] == ["letter.txt"]
    assert (few / "full" / "letter.txt").read_text() == "keep me"
    code, _, err = run(
        "yt8m", "words", few / "set", few / "texts.jsonl", "--out", few / "out6", "--vectors", few / "full"
    )
    assert (code, "word vectors must be glove, a file, or a folder that was saved" in err) == (1, True), err


# -- train and test ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    """Generated train and test with words; the test set's are like the train set's."""
    folder = tmp_path_factory.mktemp("joined")
    assert run("yt8m", "generate", folder / "data", "--videos", 250, "--classes", 12, "-q")[0] == 0
    lines = (folder / "data" / "train" / "words.jsonl").read_text().splitlines()
    said = [word.lower() for line in lines for word in f"{json.loads(line).get('title', '')}".split()]
    said += [word.lower() for line in lines for word in json.loads(line).get("keywords", ())]
    vectors_of(sorted(set(said)), folder / "vectors", dim=6)
    how = ("--vectors", folder / "vectors", "--clusters", 24, "--keyword-tokens", 10, "--length", 8)
    assert run("yt8m", "words", folder / "data" / "train", "--out", folder / "train", *how, "-q")[0] == 0
    assert (
        run("yt8m", "words", folder / "data" / "test", "--out", folder / "test", "--like", folder / "train", "-q")[0]
        == 0
    )
    return folder


HEADS = {
    "moe": ("moe/experts=2", None),
    "keyword-mlp": ("keyword-mlp/widths=[32],dropout=0", "keywords"),
    "text-cnn": ("text-cnn/vectors='{}',dim=6,widths=2,filters=16,hidden=32,dropout=0", "title"),
    "unigram": ("unigram/form=corrected", None),
    "unigram as printed": ("unigram/form=paper", "keyword-tokens"),
}


@pytest.mark.parametrize(("head", "blocks"), HEADS.values(), ids=HEADS)
def test_every_head_learns_from_words(joined, tmp_path, head, blocks):
    training = () if "unigram" in head else ("--training", "adam/lr=0.02,batch=40,epochs=20")
    chosen = () if blocks is None else ("--blocks", blocks)
    spec = head.format(joined / "vectors")
    code, _, err = run("fit", joined / "train", "--head", spec, "--out", tmp_path / "m", *training, *chosen, "-q")
    assert code == 0, err
    (found,) = rows(run("evaluate", tmp_path / "m", joined / "test", "--json", "-q")[1])
    labels = open_set(joined / "test").labels
    share = np.ones((len(labels), 12), np.float32)
    assert found["map"] > VideoScores(12).update(share, labels).result().map + 0.02  # than one answer for all
    wanted = {"moe": ["visual", "audio", "keywords"], "unigram/form=corrected": ["title", "keyword-tokens"]}
    assert found["model"]["blocks"] == wanted.get(head.partition("/")[0], wanted.get(head, [blocks]))
    code, out, _ = run("predict", tmp_path / "m", joined / "test", "--top", 2, "--json", "-q")
    assert (code, len(rows(out))) == (0, 50)


def test_a_test_set_has_the_train_sets_codebook_wherever_it_lies(joined, tmp_path, monkeypatch):
    train, like = open_set(joined / "train"), open_set(joined / "test")
    assert train.blocks == like.blocks
    assert "codebook='sha256-" in train.blocks[2].made_by
    assert str(joined / "train") not in train.blocks[2].made_by
    np.testing.assert_array_equal(*(Codebook.load(joined / each / "codebook").centres for each in ("train", "test")))
    shutil.copytree(joined / "train" / "codebook", tmp_path / "codebook")
    monkeypatch.chdir(joined)
    how = ("--vectors", "vectors", "--codebook", tmp_path / "codebook", "--keyword-tokens", 10, "--length", 8)
    code, _, err = run("yt8m", "words", joined / "data" / "test", "--out", tmp_path / "own", *how, "-q")
    assert code == 0, err
    assert open_set(tmp_path / "own").fingerprint == like.fingerprint
    other = ("--vectors", joined / "vectors", "--clusters", 24, "--keyword-tokens", 10, "--length", 8)
    assert run("yt8m", "words", joined / "data" / "test", "--out", tmp_path / "other", *other, "-q")[0] == 0
    fit = ("--head", "keyword-mlp/widths=[4]", "--training", "adam/epochs=1,batch=40", "--blocks", "keywords", "-q")
    assert run("fit", joined / "train", "--out", tmp_path / "m", *fit)[0] == 0
    code, _, err = run("evaluate", tmp_path / "m", tmp_path / "other", "-q")
    assert (code, "keywords must be made by word-histogram" in err) == (1, True)


def test_like_holds_vectors_to_what_they_were(joined, tmp_path):
    test = ("yt8m", "words", joined / "data" / "test", "--like", joined / "train", "-q")
    shutil.copytree(joined / "vectors", tmp_path / "moved")
    assert run(*test, "--out", tmp_path / "a", "--vectors", tmp_path / "moved")[0] == 0
    assert open_set(tmp_path / "a").blocks == open_set(joined / "train").blocks
    vectors_of(WORDS, tmp_path / "others", dim=6)
    code, _, err = run(*test, "--out", tmp_path / "b", "--vectors", tmp_path / "others")
    assert (code, "word vectors must be those of" in err) == (1, True)
    code, _, err = run(*test, "--out", tmp_path / "c", "--clusters", 5)
    assert (code, "--clusters comes from --like" in err) == (2, True)
    code, _, err = run(
        "yt8m", "words", joined / "data" / "test", "--like", joined / "data" / "train", "--out", tmp_path / "d", "-q"
    )
    assert (code, "must be a set that `lightmeter yt8m words` made" in err) == (1, True)
    manifest = json.loads((joined / "test" / "set.json").read_text())
    for forged in ({"clusters": "many"}, {"surprise": 1}, {"metric": "l3"}):
        folder = tmp_path / next(iter(forged))
        shutil.copytree(joined / "test", folder)
        manifest["about"]["words"]["options"] = {
            **open_set(joined / "test").manifest.about["words"]["options"],
            **forged,
        }
        (folder / "set.json").write_text(json.dumps(manifest))
        assert run(*test[:3], "--like", folder, "--out", tmp_path / "e", "-q")[0] == 1


# -- unigram as a classifier of sets ----------------------------------------------------------------------------------


def test_unigram_of_several_blocks_is_that_of_their_words(joined, tmp_path):
    train, test = open_set(joined / "train"), open_set(joined / "test")
    blocks = tuple(each for each in train.blocks if each.kind == "tokens")
    from lightmeter.heads.examples import Chosen

    def tokens(examples):
        batch = examples.batch(np.arange(len(examples)))
        return np.concatenate([batch.values[each.name] for each in blocks], axis=1)

    there = tokens(train).any(axis=1)
    rows_there = np.flatnonzero(there)
    assert 0 < len(rows_there) < len(train)
    plain = Unigram(form="corrected").fit(tokens(train)[there], train.labels.take(rows_there))
    fitted = Unigram(form="corrected").fit(Chosen.of(train, blocks=[each.name for each in blocks]))
    fitted.save(tmp_path)
    loaded = load_answering(tmp_path)
    assert isinstance(loaded, UnigramClassifier)
    batch = loaded.view(test).batch(np.arange(len(test)))
    np.testing.assert_array_equal(loaded.scores(batch), plain.scores(tokens(test)))
    assert loaded.blocks == blocks
    assert (loaded.macs, loaded.size_bytes) == (18 * 12, plain.size_bytes)


def test_unigram_reads_tokens_of_one_numbering(joined, tmp_path):
    head = ("--head", "unigram", "--out", tmp_path / "m", "-q")
    code, _, err = run("fit", joined / "train", *head, "--blocks", "keywords")
    assert (code, "unigram must read tokens, got keywords" in err) == (1, True)
    code, _, err = run("fit", joined / "train", *head, "--seed", 3)
    assert (code, "--seed does not go with unigram" in err) == (2, True)
    made = [
        Block(name, "tokens", 2, f"tokens/vectors={where}") for name, where in (("title", "glove"), ("tags", "/mine"))
    ]
    values = {name: np.ones((2, 2), np.int32) for name in ("title", "tags")}
    labels = Labels.of([[0], [1]], 2)
    write_set(tmp_path / "two", made, ("x", "y"), [ShardRows(["a", "b"], values, labels)])
    code, _, err = run("fit", tmp_path / "two", *head)
    assert (code, "must number the same words, got title by glove and tags by /mine" in err) == (1, True), err
    none = {name: np.zeros((2, 2), np.int32) for name in ("title", "tags")}
    write_set(tmp_path / "none", made, ("x", "y"), [ShardRows(["a", "b"], none, labels)])
    code, _, err = run("fit", tmp_path / "none", *head, "--blocks", "title")
    assert (code, "got none with both" in err) == (1, True)
