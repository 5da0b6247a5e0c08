"""COCO's JSON and ours: masks of every spelling, frames by path and moment, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from label_makers import save
from media_makers import make_video, number_of, numbered_frame

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media.labelling import LabelOptions
from lightmeter.media.mask_json import MaskEntry, open_mask_json, read_masks, write_masks
from lightmeter.media.rle import Rle, as_coco

MASK = np.zeros((64, 96), np.uint8)
MASK[8:20, 30:50] = 1


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    for number, stem in enumerate(("a/f1", "a/f2", "b/f1", "c")):
        save(folder / f"{stem}.png", numbered_frame(number))
    make_video(folder / "walk.mp4", 20, rate=10)
    return folder


@pytest.fixture
def frames(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "frames"))


def test_ours_goes_round(frames):
    doubtful = MASK.copy()
    doubtful[40:] = 255
    entries = [
        MaskEntry.of("walk.mp4", MASK, time_s=1.25),
        MaskEntry.of("walk.mp4", doubtful, time_s=0.3),
        MaskEntry.of("a/f2.png", doubtful),
        MaskEntry.of("c.png", MASK, group="a"),
        MaskEntry.of("a/f1.png", 1 - MASK),
    ]
    path = write_masks(frames / "masks.json", entries, {"by": "me"})
    assert json.loads(path.read_text())["about"] == {"by": "me"}
    back = read_masks(path)
    assert [(each.path, each.time_s, each.group) for each in back] == [(e.path, e.time_s, e.group) for e in entries]
    for ours, theirs in zip(back, entries, strict=True):
        np.testing.assert_array_equal(ours.values(), theirs.values())
    found = open_mask_json(frames, path).value
    assert found.names == ("a/f1.png", "a/f2.png", "c.png", "walk.mp4 frame 3", "walk.mp4 frame 12")
    assert [number_of(frame) for frame in found.frames] == [0, 1, 3, 3, 12]
    assert found.groups.tolist() == [0, 0, 0, 1, 1]
    for mask, truth in zip(found.masks, (1 - MASK, doubtful, MASK, doubtful, MASK), strict=True):
        np.testing.assert_array_equal(mask, truth)
    assert write_masks(frames / "again.json", back, {"by": "me"}).read_bytes() == path.read_bytes()


def test_work_size_and_context(frames):
    path = write_masks(frames / "m.json", [MaskEntry.of("walk.mp4", MASK, time_s=1.2), MaskEntry.of("a/f2.png", MASK)])
    found = open_mask_json(frames, path, LabelOptions(size=(32, 48), context=2)).value
    assert [[number_of(frame) for frame in clip] for clip in found.clips] == [[0, 1], [11, 12]], (
        "f1 is context, unlabelled"
    )
    assert found.at.tolist() == [1, 1]
    assert found.masks[0].tolist() == MASK[::2, ::2].tolist()


def test_a_video_stands_for_its_folder(frames):
    path = write_masks(frames / "m.json", [MaskEntry.of("walk.mp4", MASK, time_s=0)])
    assert len(open_mask_json(frames / "walk.mp4", path).value) == 1


def ours(**changes):
    row = {"path": "c.png", "size": [64, 96], "mask": Rle.of(MASK).text} | changes
    return {"schema": "lightmeter.masks/1", "frames": [{key: value for key, value in row.items() if value is not ...}]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (ours(path="none.png"), "a mask is of none.png, which is not at"),
        (ours(path="../c.png"), "frame 0: a path must lie below"),
        (ours(path="/c.png"), "frame 0: a path must lie below"),
        (ours(path=...), "must have path, size and mask"),
        (ours(size=[96, 64], mask="0`o5"), "frame 0: run lengths"),
        (
            ours(size=[63, 96], mask=Rle.of(MASK[:63]).text),
            "the mask of c.png must be 64 x 96 as its frame, got 63 x 96",
        ),
        (ours(size=3), "frame 0: TypeError"),
        (ours(size=["a", 1]), "size must be height and width"),
        (ours(mask="~~"), "COCO's text"),
        (ours(mask=None), "must have path"),
        (ours(not_judged=3), "must be text"),
        (ours(time_s=-1), "time_s must be a number"),
        (ours(time_s=True), "time_s must be a number"),
        (ours(path="walk.mp4", time_s=99), "got a mask at 99"),
        ({"schema": "lightmeter.masks/1", "frames": [ours()["frames"][0]] * 2}, "two masks"),
        ({"schema": "lightmeter.masks/1", "frames": []}, "a frame with a mask, got none"),
        ({"schema": "lightmeter.masks/1"}, "with frames"),
        ({"schema": "lightmeter.masks/9"}, "or COCO's"),
        ([], "a JSON object, got list"),
    ],
)
def test_broken_masks_are_refused(frames, content, says):
    path = frames / "m.json"
    path.write_text(json.dumps(content))
    with pytest.raises(RejectedFileError, match=says):
        open_mask_json(frames, path)


def test_text_that_is_no_json(frames):
    (frames / "m.json").write_text("{" * 100_000)
    with pytest.raises(RejectedFileError, match="must be JSON"):
        open_mask_json(frames, frames / "m.json")


def test_links_out_of_the_folder_are_refused(frames, tmp_path_factory):
    other = save(tmp_path_factory.mktemp("other") / "x.png", numbered_frame(0))
    (frames / "x.png").symlink_to(other)
    path = write_masks(frames / "m.json", [MaskEntry.of("x.png", MASK)])
    with pytest.raises(RejectedFileError, match="link-outside"):
        open_mask_json(frames, path)
    with pytest.raises(RejectedFileError, match="must lie below"):
        write_masks(frames / "m.json", [MaskEntry.of("../x.png", MASK)])


def coco(**changes):
    names = ("a/f1.png", "a/f2.png", "b/f1.png", "c.png")
    images = [{"id": 10 + at, "file_name": name, "height": 64, "width": 96} for at, name in enumerate(names)]
    box = [30, 8, 50, 8, 50, 20, 30, 20]  # MASK as a polygon
    runs = {"size": [64, 96], "counts": Rle.of(MASK).counts.tolist()}
    two = [[0, 0, 4, 0, 4, 4, 0, 4], [90, 0, 96, 0, 96, 64, 90, 64]]
    drawn = [
        {"id": 1, "image_id": 10, "category_id": 1, "segmentation": [box]},
        {"id": 2, "image_id": 11, "category_id": 1, "segmentation": runs, "iscrowd": 1},
        {"id": 3, "image_id": 12, "category_id": 2, "segmentation": as_coco(Rle.of(MASK))},
        {"id": 4, "image_id": 12, "category_id": 1, "segmentation": two},
    ]  # fmt: skip
    categories = [{"id": 1, "name": "robot"}, {"id": 2, "name": "box"}]
    return {"images": images, "annotations": drawn, "categories": categories} | changes


def test_coco(frames):
    path = frames / "instances.json"
    path.write_text(json.dumps(coco()))
    found = open_mask_json(frames, path).value
    assert found.names == ("a/f1.png", "a/f2.png", "b/f1.png", "c.png")
    assert found.groups.tolist() == [0, 0, 1, 2]
    more = MASK.copy()
    more[:4, :4] = more[:, 90:] = 1
    for mask, truth in zip(found.masks, (MASK, MASK, more, 0 * MASK), strict=True):
        np.testing.assert_array_equal(mask, truth)
    boxes = open_mask_json(frames, path, LabelOptions(categories=("box",))).value
    assert [int(mask.sum()) for mask in boxes.masks] == [0, 0, int(MASK.sum()), 0]
    with pytest.raises(InvalidValueError, match="categories must be of box, robot, got 'cat'"):
        open_mask_json(frames, path, LabelOptions(categories=("cat",)))


def changed(at, **changes):
    made = coco()
    kind, number = at
    made[kind][number] |= changes
    return made


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (changed(("annotations", 1), segmentation={"size": [1, 9], "counts": [9]}), "annotation 2 of a/f2.png: size"),
        (changed(("annotations", 0), segmentation=None), "annotation 1 of a/f1.png: a segmentation must be polygons"),
        (changed(("annotations", 0), image_id=99), "COCO's JSON, whole: KeyError 99"),
        (changed(("annotations", 0), image_id=[]), "COCO's JSON, whole: TypeError"),
        (changed(("images", 0), height=65), r"a/f1.png is 64 x 96, its masks are 65 x 96"),
        (changed(("images", 0), height="64"), "must have height and width"),
        (changed(("images", 0), file_name="../x.png"), "below the folder"),
        (changed(("images", 0), file_name="c.png"), "names a picture twice"),
        (coco(images=[{}]), "whole: KeyError 'id'"),
        (coco(images=[3]), "whole: TypeError"),
    ],
)  # fmt: skip
def test_broken_coco_is_refused(frames, content, says):
    path = frames / "m.json"
    path.write_text(json.dumps(content))
    with pytest.raises(RejectedFileError, match=says):
        open_mask_json(frames, path)
