"""`lightmeter recognise` as a user types it."""

from __future__ import annotations

import pytest
from media_folder import COLOURS, picture, video
from test_commands import rows, run

QUICK = ["--encoder", "color-histogram"]


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """A folder with one folder a colour, indexed once."""
    folder = tmp_path_factory.mktemp("classes")
    for colour in COLOURS:
        for at in range(4):
            picture(folder / colour / f"{at}.png", colour, seed=at)
    picture(folder / "loose.png", "red")
    assert run("recognise", folder, folder / "loose.png", *QUICK, "--quiet")[0] == 0
    return folder


def test_a_picture_is_answered_with_label_distance_certificate_and_price(classes, tmp_path):
    query = picture(tmp_path / "q.png", "blue", seed=77)
    code, out, err = run("recognise", classes, query, *QUICK, "--at-least", "0.98")
    assert code == 0
    head, line = out.splitlines()
    assert head.split() == ["query", "label", "distance", "confidence", "nearest", "certificate", "price"]
    assert " blue " in line
    assert "exact: " in line
    assert "CPU-ms" in line
    assert "classes: 4, rows: 16" in err
    assert "needs at least" in err, "the roofline"
    assert "chosen" in err, "what was chosen among what"
    assert "left out, in no class folder: 1 of the files" in err
    assert "CPU-s" in err
    again = run("recognise", classes, query, *QUICK, "--at-least", "0.98")[2]
    assert "as measured on 20" in again
    assert "needs at least" not in again, "what was said once is not said again"


def test_json_has_one_line_an_answer_and_the_price(classes, tmp_path):
    queries = [picture(tmp_path / f"{colour}.png", colour, seed=99) for colour in ("red", "grey")]
    code, out, err = run("recognise", classes, *queries, *QUICK, "--json", "--quiet")
    assert (code, err) == (0, "")
    *answers, price = rows(out)
    assert [answer["label"] for answer in answers] == ["red", "grey"]
    for answer in answers:
        assert answer["schema"] == "lightmeter.recognise/1"
        assert answer["certificate"]["exact"] is True
        assert answer["certificate"]["bytes_read"] > 0
        assert answer["cpu_s"] > 0
        assert 0 <= answer["distance"] < answer["runner_up_distance"]
        assert answer["nearest"].startswith(str(classes / answer["label"]))
    assert price["classes"] == 4
    assert price["cost"]["asking"]["cpu_s"] > 0
    assert price["roofline_s"] > 0


def test_a_video_is_put_together_from_its_frames(classes, tmp_path):
    clip = video(tmp_path / "clip.mp4", ["green", "green", "blue"])
    code, out, _ = run("recognise", classes, clip, *QUICK, "--json", "--quiet", "--fusion", "frame-sum")
    assert code == 0
    assert (rows(out)[0]["label"], rows(out)[0]["frames"]) == ("green", 3)


def test_what_cannot_be_read_is_named_and_the_rest_answered(classes, tmp_path):
    good, bad = picture(tmp_path / "good.png", "red", seed=5), tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    code, out, err = run("recognise", classes, bad, good, tmp_path / "none.png", *QUICK)
    assert code == 3
    assert "bad.png: " in err
    assert "none.png: " in err
    assert " red " in out


def test_unknown_says_what_it_promises(classes, tmp_path):
    query = picture(tmp_path / "q.png", "blue", seed=77)
    code, out, err = run("recognise", classes, query, *QUICK, "--unknown-at-risk", "0.01")
    assert code == 0
    assert "unknown" in out, "16 rows prove no risk of 1 %"
    assert "prove no risk of 0.01" in err


def test_a_library_answers_by_tags_set_by_hand(classes, tmp_path):
    library = tmp_path / "l"
    run("index", classes, "--library", library, *QUICK, "--words", "", "--engine", "inline", "--quiet")
    query = picture(tmp_path / "q.png", "grey", seed=77)
    code, _, err = run("recognise", library, query)
    assert code == 1
    assert "lightmeter tag --set" in err
    for colour in ("grey", "red"):
        run("tag", *sorted((classes / colour).iterdir()), "--set", colour, "--library", library)
    code, out, _ = run("recognise", library, query, "--json", "--quiet")
    assert code == 0
    assert rows(out)[0]["label"] == "grey"
    assert run("recognise", library, query, *QUICK)[0] == 2, "a library has its encoder already"


def test_the_choice_and_the_index_are_kept(classes, tmp_path):
    from lightmeter.library.recognising import open_gallery

    run("recognise", classes, classes / "loose.png", *QUICK, "--quiet")
    library = classes / ".lightmeter"
    first = open_gallery(library, root=classes)
    stamp = [place.stat().st_mtime_ns for place in sorted((library / "indexes").rglob("*"))]
    second = open_gallery(library, root=classes)
    assert second.choice == first.choice
    assert [place.stat().st_mtime_ns for place in sorted((library / "indexes").rglob("*"))] == stamp


def test_a_damaged_index_is_built_again(classes, tmp_path):
    query = picture(tmp_path / "q.png", "blue", seed=77)
    run("recognise", classes, query, *QUICK, "--index", "granular", "--quiet")
    [kept] = (classes / ".lightmeter" / "indexes").glob("*/model.safetensors")
    kept.write_bytes(b"nothing")
    code, out, _ = run("recognise", classes, query, *QUICK, "--index", "granular")
    assert code == 0
    assert " blue " in out


def test_wrong_use_is_one_sentence(classes, tmp_path):
    query = picture(tmp_path / "q.png", "blue")
    assert run("recognise", classes, query, *QUICK, "--index", "granulair")[0] == 1
    assert "did you mean 'granular'" in run("recognise", classes, query, *QUICK, "--index", "granulair")[2]
    assert run("recognise", classes, query, "--unknown-at-risk", "1")[0] == 2
    code, _, err = run("recognise", classes, query, *QUICK, "--index", "pivots/metric=chi2")
    assert (code, "must compare by cosine" in err) == (1, True)
    (tmp_path / "empty").mkdir()
    code, _, err = run("recognise", tmp_path / "empty", query, *QUICK)
    assert code == 1
    assert "must hold one folder a class" in err
    assert not list((tmp_path / "empty").iterdir()), "nothing is left behind"
    assert run("recognise", classes, query, *QUICK, "--outside", "0.9")[0] == 2
    code, _, err = run("recognise", classes, query, "--encoder", "log-mel")
    assert (code, "must take pictures" in err) == (1, True)
    code, _, err = run("recognise", classes, query, *QUICK, "--index", "three-way")
    assert (code, "tells its own" in err) == (1, True)


def test_a_mistake_does_not_cost_the_indexing(tmp_path):
    picture(tmp_path / "g" / "red" / "1.png", "red")
    query = picture(tmp_path / "q.png", "red")
    assert run("recognise", tmp_path / "g", query, *QUICK, "--index", "granulair")[0] == 1
    assert not (tmp_path / "g" / ".lightmeter").exists()


def test_half_a_gallery_answers_nothing(classes, tmp_path, monkeypatch):
    from dataclasses import replace

    from lightmeter.library import recognising

    real = recognising.index
    monkeypatch.setattr(recognising, "index", lambda *args, **options: replace(real(*args, **options), stopped=True))
    code, out, _ = run("recognise", classes, picture(tmp_path / "q.png", "red"), *QUICK)
    assert (code != 0, out) == (True, ""), "stopped, as by Ctrl-C: 130 on the command line"


def test_the_encoder_that_is_asked_for_answers(tmp_path):
    for colour in ("red", "blue"):
        picture(tmp_path / "g" / colour / "1.png", colour)
    query = picture(tmp_path / "q.png", "red", seed=5)
    for bins in (4, 3, 4):
        _, out, _ = run("recognise", tmp_path / "g", query, "--encoder", f"color-histogram/bins={bins}", "--json", "-q")
        assert rows(out)[-1]["encoder"] == f"color-histogram/bins={bins}"


def test_a_folder_asks_with_its_files_and_a_cut_one_is_named(classes, tmp_path):
    whole = picture(tmp_path / "q" / "a.jpg", "red", size=(400, 300))
    (tmp_path / "q" / "b.jpg").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    code, out, _ = run("recognise", classes, tmp_path / "q", *QUICK, "--json", "--quiet")
    assert code == 0
    first, second, price = rows(out)
    assert (first["damaged"], bool(second["damaged"])) == (None, True)
    assert price["queries"] == 2
    assert "damaged, used all the same" in run("recognise", classes, tmp_path / "q", *QUICK)[2]


def test_files_of_the_gallery_that_are_left_out_are_counted_and_named_when_asked(tmp_path):
    for colour in ("red", "blue"):
        picture(tmp_path / "g" / colour / "1.png", colour)
        (tmp_path / "g" / colour / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    query = picture(tmp_path / "q.png", "red", seed=5)
    for _ in range(2):
        err = run("recognise", tmp_path / "g", query, *QUICK)[2]
        assert err.count("bad.png") == 1
        assert "left out, cannot be used: 2 of the files, such as " in err
    assert run("recognise", tmp_path / "g", query, *QUICK, "-v")[2].count("bad.png: ") >= 2
    price = rows(run("recognise", tmp_path / "g", query, *QUICK, "--json")[1])[-1]
    assert sorted(path[-11:] for path in price["left_out"]) == ["lue/bad.png", "red/bad.png"]


def test_of_two_classes_as_near_both_are_named(tmp_path):
    same = picture(tmp_path / "g" / "red" / "1.png", "red")
    picture(tmp_path / "g" / "crimson" / "1.png", "red")
    picture(tmp_path / "g" / "blue" / "1.png", "blue")
    assert " crimson or red " in run("recognise", tmp_path / "g", same, *QUICK)[1]
