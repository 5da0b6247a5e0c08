"""Words beside a file, in its folder's table, inside it and in its name; hostile text included."""

import io
import json

import pytest
from hostile import picture
from media_makers import make_sound, make_video, numbered_frame
from PIL import Image, PngImagePlugin

from lightmeter.media import MediaLimits, find_words, read_words, word_tables
from lightmeter.media.words import words_of_name
from lightmeter.types import Words


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "IMG_0042.png"
    path.write_bytes(picture("PNG"))
    return path


def test_nothing_written_is_no_words(photo):
    assert read_words(photo) == ()


def test_a_caption_beside_it(photo):
    photo.with_suffix(".txt").write_text("A red fox\nin the snow.\n")
    assert read_words(photo) == (Words("A red fox in the snow.", (), "sidecar"),)


def test_of_translations_the_first_line(photo):
    photo.with_suffix(".txt").write_text("A seahorse.\nca.utf8=Un cavallet de mar.\nde.utf8=Ein Seepferdchen.\n")
    assert read_words(photo)[0].title == "A seahorse."


@pytest.mark.parametrize("name", ["IMG_0042.json", "IMG_0042.png.json"])
def test_an_object_beside_it(photo, name):
    record = {
        "Title": "Fox",
        "description": "In snow",
        "keywords": ["red", "winter"],
        "tags": "cold, red",
        "label": "3",
    }
    (photo.parent / name).write_text(json.dumps(record))
    assert read_words(photo) == (Words("Fox. In snow", ("red", "winter", "cold"), "sidecar"),)


def test_tables_of_its_folder_and_above(photo, tmp_path):
    (tmp_path / "metadata.csv").write_text(
        'file_name,text,label\nIMG_0042.png,"a fox, red",animal\nsub/b.png,a boat,\n'
    )
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/b.png").write_bytes(picture("PNG"))
    (tmp_path / "sub/metadata.jsonl").write_text(
        '{"file_name": "b.png", "caption": "a ship", "tags": ["sea"]}\nnonsense\n'
    )
    assert read_words(photo) == (Words("a fox, red", ("animal",), "metadata"),)
    assert read_words(tmp_path / "sub/b.png") == (Words("a ship", ("sea",), "metadata"),)
    found = find_words(tmp_path / "sub/b.png", tmp_path)
    assert found.value == (Words("a ship", ("sea",), "metadata"), Words("a boat", (), "metadata"))
    assert "1 rows" in found.notes[0]


def test_a_changed_table_is_read_again(photo, tmp_path):
    table = tmp_path / "metadata.csv"
    table.write_text("file_name,text\nIMG_0042.png,one\n")
    assert read_words(photo)[0].title == "one"
    table.write_text("file_name,text\nIMG_0042.png,another\n")
    assert read_words(photo)[0].title == "another"


def test_a_large_table_is_read_once_with_beats_and_little_memory(photo, tmp_path, monkeypatch):
    """Each worker reads the table of its folder: a silent worker is killed, and a full one too."""
    rows = [json.dumps({"file_name": f"{n}.png", "text": f"number {n}"}) for n in range(5000)]
    rows += ['{"FILE_NAME": "./IMG_0042.png", "text": "first"}', "", '{"file_name": "IMG_0042.png", "text": "last"}']
    (tmp_path / "metadata.jsonl").write_text("\ufeff" + "\n".join(rows))
    beats = []
    assert find_words(photo, beat=lambda: beats.append(1)).value == (Words("last", (), "metadata"),)
    assert len(beats) >= 10
    (photo.parent / "0.png").write_bytes(photo.read_bytes())
    monkeypatch.setattr(word_tables, "_read", None)
    assert read_words(tmp_path / "0.png")[0] == Words("number 0", (), "metadata")
    held = word_tables._HELD[tmp_path / "metadata.jsonl"]
    assert held.hashes.nbytes + held.offsets.nbytes == 16 * 5002


def test_rows_of_a_csv_may_span_lines(photo, tmp_path):
    (tmp_path / "metadata.csv").write_bytes(
        b'\xef\xbb\xbfText,File_Name\r\n"two\r\nlines",a.png\r\n\r\n"a ""fox""\nruns",IMG_0042.png\r\nlonely\r\n'
    )
    found = find_words(photo)
    assert found.value == (Words('a "fox" runs', (), "metadata"),)
    assert found.notes == ("metadata.csv: 1 rows have no file_name",)


@pytest.mark.parametrize(
    ("patch", "limits", "says"),
    [
        ({"MOST_ROWS": 2}, MediaLimits(), "only its first 2 rows"),
        ({"MOST_ROW_BYTES": 60}, MediaLimits(), "a row has more than 60 bytes"),
        ({}, MediaLimits(table_bytes=100), "the limit is 100"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_table_beyond_a_limit_is_noted_and_the_rest_goes_on(
    photo, tmp_path, monkeypatch, patch, limits, says, ending
):
    rows = [("IMG_0042.png", "first"), ("b.png", "x" * 40), ("c.png", "third"), ("d.png", "fourth")]
    lines = [json.dumps({"file_name": n, "text": t}) if ending == "jsonl" else f"{n},{t}" for n, t in rows]
    if "MOST_ROW_BYTES" in patch:
        lines[2] = lines[2].replace("third", "third" * 20)
    head = [] if ending == "jsonl" else ["file_name,text"]
    (tmp_path / f"metadata.{ending}").write_text("\n".join([*head, *lines, ""]) * (5 if not patch else 1))
    for name, value in patch.items():
        monkeypatch.setattr(word_tables, name, value)
    found = find_words(photo, limits=limits)
    assert says in found.notes[0]
    assert found.value == ((Words("first", (), "metadata"),) if patch else ())


def test_tables_held_at_once_are_bounded(photo, tmp_path, monkeypatch):
    monkeypatch.setattr(word_tables, "MOST_ROWS_HELD", 1000)
    for n in range(30):
        (tmp_path / str(n)).mkdir()
        (tmp_path / str(n) / "metadata.csv").write_text("file_name,text\nx.png,fine\n")
        (tmp_path / str(n) / "x.png").write_bytes(photo.read_bytes())
        assert read_words(tmp_path / str(n) / "x.png")[0].title == "fine"
    assert len(word_tables._HELD) < 10


def test_tags_inside_pictures(tmp_path):
    image = Image.fromarray(numbered_frame(1))
    exif = Image.Exif()
    exif[0x010E] = "A lighthouse"
    exif[0x9C9E] = "sea;tower\0".encode("utf-16-le")
    for form in ("JPEG", "WEBP", "TIFF"):
        image.save(tmp_path / f"x.{form.lower()}", form, exif=exif)
        assert read_words(tmp_path / f"x.{form.lower()}")[0] == Words("A lighthouse", ("sea", "tower"), "embedded")
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "A lighthouse")
    text.add_itxt("Keywords", "sea, tower")
    image.save(tmp_path / "x.png", pnginfo=text)
    assert read_words(tmp_path / "x.png")[0] == Words("A lighthouse", ("sea", "tower"), "embedded")


def test_xmp_by_pattern(tmp_path):
    item = "<rdf:li xml:lang='x-default'>{}</rdf:li>"
    title = f"<dc:title><rdf:Alt>{item.format('Caf&#233; &amp; bar')}</rdf:Alt></dc:title>"
    xmp = f"{title}<dc:subject>{item.format('coffee')}</dc:subject>"
    path = tmp_path / "x.jpg"
    Image.fromarray(numbered_frame(1)).save(path, xmp=f"<x:xmpmeta>{xmp}</x:xmpmeta>".encode())
    assert read_words(path)[0] == Words("Café & bar", ("coffee",), "embedded")


def test_what_a_camera_writes_is_no_title(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "OLYMPUS DIGITAL CAMERA         "
    Image.fromarray(numbered_frame(1)).save(tmp_path / "P1.jpg", exif=exif)
    assert read_words(tmp_path / "P1.jpg") == ()


def test_tags_of_videos_and_sounds(tmp_path):
    path = make_video(tmp_path / "x.mp4", 3, metadata={"title": "Harbour", "comment": "boats", "genre": "travel"})
    assert read_words(path)[0] == Words("Harbour. boats", ("travel",), "embedded")
    assert read_words(make_sound(tmp_path / "VID_1.wav", "pcm_s16le")) == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("IMG_20240506_123456.jpg", ""), ("DSC00042.JPG", ""), ("VID-20240101-WA0003.mp4", ""), ("PXL_2024.MP4", ""),
        ("red-fox in_snow (2).png", "red fox in snow"),
        ("d41d8cd98f00b204e9800998ecf8427e.png", ""), ("büro_3.jpg", "büro"),
        ("猫.jpg", "猫"), ("Screenshot from Paris.png", "from Paris"), (".jpg", "jpg"), ("no-ending", "no ending"),
    ],
)  # fmt: skip
def test_the_name_is_a_source_of_its_own(name, words):
    assert words_of_name(name) == ("" if name == ".jpg" else words)


def test_hostile_text_is_noted_and_harmless(photo, tmp_path):
    photo.with_suffix(".txt").write_bytes(b"caf\xe9 \x00\x1b[31mred\n")
    photo.with_suffix(".json").write_text("[" * 100_000)
    (tmp_path / "metadata.csv").write_bytes(b"file_name,text\nIMG_0042.png,\xff ok\n" + b'"' + b"x" * 200_000)
    found = find_words(photo)
    assert found.value[0].title == "caf\ufffd [31mred"
    assert found.value[1] == Words("\ufffd ok", (), "metadata")
    assert found.state == "damaged"
    assert len(found.notes) >= 3


def test_links_beside_it_are_not_followed(photo, tmp_path):
    secret = tmp_path / "elsewhere"
    secret.write_text("a secret")
    photo.with_suffix(".txt").symlink_to(secret)
    (tmp_path / "metadata.csv").symlink_to(secret)
    assert read_words(photo) == ()


def test_lengths_are_bounded(photo):
    photo.with_suffix(".json").write_text(
        json.dumps({"title": "x" * 10_000, "tags": [f"{n}{'x' * 200}" for n in range(999)]})
    )
    found = read_words(photo)[0]
    assert len(found.title) == 2000
    assert len(found.keywords) <= 200
    assert max(map(len, found.keywords)) <= 100
    assert io.StringIO(found.text).read()


def test_a_downloaders_sidecar_gives_title_tags_and_categories(tmp_path):
    film = tmp_path / "Red fox v1.2 [x1].mp4"
    film.write_bytes(b"no video")
    told = {"title": "A fox", "tags": ["red", "snow"], "categories": ["Pets"], "description": "Buy!", "label": "Sony"}
    (tmp_path / "Red fox v1.2 [x1].info.json").write_text(json.dumps(told))
    first = find_words(film).value[0]
    assert first == Words("A fox", ("red", "snow", "Pets"), "sidecar")
    (tmp_path / "Red fox v1.2 [x1].info.json").write_text("[1]")
    assert any("info.json cannot be read" in note for note in find_words(film).notes)
