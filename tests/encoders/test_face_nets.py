"""Light CNN, VGGFace and VGGFace2 from files: read in every form they come in, or refused by name."""

import hashlib
import os
import sys
import zipfile

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from face_nets_reference import dag_row, light_cnn_row, vgg_row  # noqa: E402

from lightmeter.encoders import face_net  # noqa: E402
from lightmeter.encoders.by_path import pinned  # noqa: E402
from lightmeter.encoders.light_cnn import EYES, LightCnn, grey  # noqa: E402
from lightmeter.encoders.vggface import VggFaceEncoder  # noqa: E402
from lightmeter.encoders.vggface2 import VggFace2Encoder  # noqa: E402
from lightmeter.errors import (  # noqa: E402
    InvalidValueError,
    MissingAssetError,
    MissingExtraError,
    RejectedFileError,
    SpecError,
    UnsafeFileError,
)
from lightmeter.nets.vggface2 import dag_names  # noqa: E402
from lightmeter.parts import build  # noqa: E402
from lightmeter.types import Image  # noqa: E402

pytestmark = pytest.mark.usefixtures("let_go")

KINDS = {"light-cnn-9": (9, 1), "light-cnn-29": (29, 1), "light-cnn-29-v2": (29, 2)}


def state_of(path):
    state = torch.load(path, weights_only=True)
    return {name.removeprefix("module."): each for name, each in state.get("state_dict", state).items()}


def by_pillow(image, side):
    from PIL import Image as pillow  # noqa: N813

    return pillow.fromarray(image.pixels).resize((side, side), pillow.Resampling.BILINEAR)


def close(row, wanted, tolerance=1e-4):
    assert np.std(row) > 0.01
    np.testing.assert_allclose(row, wanted.numpy(), rtol=tolerance, atol=tolerance * float(wanted.abs().max()))


# -- rows are those of the networks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("which", KINDS)
def test_light_cnn_sees_a_grey_square(which, face_file, items):
    image = items["image"][0][0]
    levels = np.array(by_pillow(image, 128).convert("L"), np.float32) / 255
    layers, version = KINDS[which]
    with torch.inference_mode():
        wanted = light_cnn_row(state_of(face_file(which)), torch.from_numpy(levels), layers, version)
    close(LightCnn(face_file(which), layers, version).encode([image])[0], wanted)


def test_vggface_sees_red_first_less_the_mean(narrow_vggface, face_file, items):
    image = items["image"][0][0]
    pixels = np.array(by_pillow(image, 224), np.float64) - [129.186279296875, 104.76238250732422, 93.59396362304688]
    with torch.inference_mode():
        wanted = vgg_row(state_of(face_file("vggface")), torch.from_numpy(pixels).permute(2, 0, 1).float())
    close(VggFaceEncoder(face_file("vggface")).encode([image])[0], wanted)


@pytest.mark.parametrize("blocks", ["resnet", "senet"])
def test_vggface2_sees_the_middle_square_less_the_mean(blocks, face_file, make_picture):
    image = make_picture(0, 90, 90)
    pixels = np.array(by_pillow(image, 224), np.float64) - [131.0912, 103.8827, 91.4953]
    path, squeeze = face_file(f"vggface2-{blocks}"), blocks == "senet"
    with torch.inference_mode():
        wanted = dag_row(state_of(path), torch.from_numpy(pixels).permute(2, 0, 1).float(), squeeze=squeeze)
    close(VggFace2Encoder(path, blocks).encode([image])[0], wanted, 1e-3)


def test_both_spellings_of_vggface2_are_one_network(face_file, tmp_path, items):
    path, names = face_file("vggface2-senet"), dag_names(squeeze=True)
    other = {names.get(name, f"fc.{name}"): each for name, each in state_of(path).items()}
    other["conv1.weight"] = other["conv1.weight"].flip(1)  # that one is made for BGR
    torch.save({"model_state_dict": other, "epoch": 1}, tmp_path / "checkpoint.pth.tar")
    image = items["image"][0][:1]
    np.testing.assert_array_equal(
        VggFace2Encoder(tmp_path / "checkpoint.pth.tar", "senet").encode(image),
        VggFace2Encoder(path, "senet").encode(image),
    )


def test_every_form_of_a_file_is_one_network(face_file, tmp_path, items):
    from safetensors.torch import save_file

    path = face_file("light-cnn-9")
    state, image = state_of(path), items["image"][0][:1]
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pth")
    torch.save({name: each for name, each in state.items() if "fc2" not in name}, tmp_path / "c.pth")
    torch.save({name: each.double() for name, each in state.items()}, tmp_path / "d.pth")
    wanted = LightCnn(path, 9).encode(image)
    for each in sorted(tmp_path.iterdir()):
        np.testing.assert_array_equal(LightCnn(each, 9).encode(image), wanted, err_msg=each.name)


def test_half_precision_is_widened(face_file, tmp_path, items):
    path, image = face_file("light-cnn-9"), items["image"][0][:1]
    torch.save({name: each.half() for name, each in state_of(path).items()}, tmp_path / "half.pth")
    halved, wanted = LightCnn(tmp_path / "half.pth", 9).encode(image), LightCnn(path, 9).encode(image)
    assert halved.dtype == np.float32
    np.testing.assert_allclose(halved, wanted, atol=0.02 * np.abs(wanted).max())
    assert not np.array_equal(halved, wanted)


# -- one file, one network ------------------------------------------------------------------------------------------


def test_a_network_is_read_once_and_shared_by_both_views(face_file):
    path = face_file("light-cnn-9")
    assert LightCnn(path, 9)._net() is LightCnn(path, 9, view="face")._net()


def test_another_file_at_the_same_place_is_another_network(face_file, tmp_path, items):
    path, image = tmp_path / "weights.pth", items["image"][0][:1]
    state = state_of(face_file("light-cnn-9"))
    torch.save(state, tmp_path / "old.pth")
    (tmp_path / "old.pth").rename(path)
    encoder = LightCnn(path, 9)
    before = encoder.encode(image)
    old = path.stat()
    state["features.0.filter.bias"] = state["features.0.filter.bias"] + 1
    torch.save(state, tmp_path / "new.pth")
    assert (tmp_path / "new.pth").stat().st_size == old.st_size
    os.utime(tmp_path / "new.pth", ns=(old.st_atime_ns, old.st_mtime_ns))
    (tmp_path / "new.pth").replace(path)  # same size, same time: only the inode tells
    assert not np.allclose(encoder.encode(image), before)
    assert len([key for key in face_net._nets if str(path) in key]) == 1, "the old one is let go"


def test_a_hash_pins_the_file(face_file):
    path = face_file("light-cnn-9")
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    encoder = LightCnn(path, 9, sha256=right[:12])
    encoder.load()
    assert build(encoder.spec) == encoder
    assert right[:12] in encoder.spec
    with pytest.raises(MissingAssetError, match=f"must have the sha256 00000000…, got {right[:16]}…"):
        LightCnn(path, 9, sha256="00000000").load()


def test_pinning_puts_the_hash_into_the_spec(face_file, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(face_file("light-cnn-9").read_bytes())
    held = pinned(LightCnn(path, 9))
    assert held.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    assert pinned(held) is held
    assert build(held.spec) == held
    path.write_bytes(path.read_bytes() + b"more")
    assert pinned(LightCnn(path, 9)) != held, "another file, another spec"
    with pytest.raises(MissingAssetError, match="must have the sha256"):
        held.load()
    packaged = build("color-histogram")
    assert pinned(packaged) is packaged


def test_a_hash_in_capitals_is_the_same():
    assert build("vggface/file=/a.pth,sha256=DEADBEEF") == build("vggface/file=/a.pth,sha256=deadbeef")


@pytest.mark.parametrize("spec", ["light-cnn/file=./w/a.pth", "vggface/file=./w/a.pth", "vggface2/file=./w/a.pth",
                                  "clip/folder=./w", "word-histogram/codebook=./w,vectors='b.txt'"])  # fmt: skip
def test_paths_are_kept_from_the_root(spec, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    made = build(spec)
    assert f"'{tmp_path}/w" in made.spec
    monkeypatch.chdir("/")
    assert build(made.spec) == made, "read from elsewhere it names the same file"


def test_the_spec_names_the_file(face_file):
    path = face_file("light-cnn-29-v2")
    encoder = build(f"light-cnn/file='{path}',layers=29,version=2", "encoder")
    assert encoder == LightCnn(path, 29, 2)
    assert f"file='{path}'" in encoder.spec
    assert build("vggface2/file=./a.pth,blocks=senet").blocks == "senet"
    assert build("vggface/file=~/a.pth,view=face").view == "face"


def test_home_is_understood(face_file, monkeypatch):
    path = face_file("light-cnn-9")
    monkeypatch.setenv("HOME", str(path.parent))
    build(f"light-cnn/file=~/{path.name},layers=9").load()


# -- what does not fit is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "named"),
    [("light-cnn/file=/no/a.pth,layers=29,version=2", "LightCNN_29Layers_V2_checkpoint.pth.tar"),
     ("light-cnn/file=/no/a.pth,layers=9", "LightCNN_9Layers_checkpoint.pth.tar"),
     ("vggface/file=/no/a.pth", "vgg_face_dag.pth"), ("vggface2/file=/no/a.pth", "resnet50_ft_dag.pth"),
     ("vggface2/file=/no/a.pth,blocks=senet", "senet50_ft_dag.pth")],
)  # fmt: skip
def test_a_missing_file_is_named_with_what_to_put_there(spec, named):
    for call in (lambda made: made.load(), lambda made: made.encode([])):
        with pytest.raises(MissingAssetError, match=rf"/no/a.pth is not there: put {named}"):
            call(build(spec))
    assert build(spec).macs > 9e8, "what it costs is known without its file"
    assert build(spec).size_bytes > 2e7


@pytest.mark.parametrize(
    ("which", "encoder", "says"),
    [
        ("light-cnn-29-v2", lambda path: LightCnn(path), r"lacks fc.filter.weight, fc.filter.bias and has fc.weight, "
         r"fc.bias beyond it: it holds 29 layers v2: say light-cnn/layers=29,version=2"),
        ("light-cnn-9", lambda path: LightCnn(path), r"lacks conv1.filter.weight, conv1.filter.bias, block1.* and 57 "
         r"more and has features.0.filter.weight.* and 17 more beyond it: it holds .*layers=9$"),
        ("light-cnn-29", lambda path: LightCnn(path, 29, 2), r"it holds Light CNN of 29 layers: say .*layers=29$"),
        ("light-cnn-29", VggFaceEncoder, r"must hold vggface, but lacks conv1_1.weight"),
        ("vggface2-senet", VggFace2Encoder, r"has conv2_1_1x1_down.weight, .* beyond it: .*vggface2/blocks=senet"),
        ("vggface2-resnet", lambda path: VggFace2Encoder(path, "senet"), r"lacks layer1.0.conv4.weight.*blocks=resnet"),
        ("vggface2-resnet", lambda path: LightCnn(path), r"it holds VGGFace2's ResNet: say vggface2/blocks=resnet"),
        ("vggface", VggFace2Encoder, r"it holds VGG-16: say vggface"),
    ],
)  # fmt: skip
def test_another_network_is_refused_by_name(which, encoder, says, face_file):
    with pytest.raises(InvalidValueError, match=says):
        encoder(face_file(which)).load()


@pytest.mark.parametrize(
    ("names", "says"),
    [(["conv1.filter.weight", "block1.0.conv1.filter.weight", "conv5.filter.weight", "fc.weight"], "Light CNN v4"),
     (["conv2_1_1x1_reduce.weight", "feat_extract.weight"], "a short last layer, which is not supported"),
     (["layer1.0.conv3.weight", "layer1.0.conv5.weight"], "VGGFace2's SENet"),
     (["layer1.0.conv3.weight", "layer3.5.conv3.weight"], "a ResNet of 50 layers"),
     (["layer1.0.conv3.weight", "layer3.5.conv3.weight", "layer3.6.conv3.weight"], "none of the networks"),
     (["what"], "none of the networks")],
)  # fmt: skip
def test_what_a_file_seems_to_be(names, says):
    assert says in face_net.seems(names)


def test_another_width_or_type_is_refused(face_file, tmp_path):
    state = state_of(face_file("light-cnn-9"))
    state["fc1.filter.bias"] = state["fc1.filter.bias"][:-2].clone()
    torch.save(state, tmp_path / "thin.pth")
    with pytest.raises(InvalidValueError, match=r"whose fc1.filter.bias is \[512\], got \[510\]"):
        LightCnn(tmp_path / "thin.pth", 9).load()
    state["fc1.filter.bias"] = torch.zeros(512, dtype=torch.int8)
    torch.save(state, tmp_path / "int8.pth")
    with pytest.raises(InvalidValueError, match="must hold float weights, got int8 as fc1.filter.bias"):
        LightCnn(tmp_path / "int8.pth", 9).load()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value, face_file, tmp_path):
    state = state_of(face_file("light-cnn-9"))
    state["fc1.filter.bias"] = torch.full_like(state["fc1.filter.bias"], value)
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(InvalidValueError, match="must hold finite weights, got NaN or infinity in fc1.filter.bias"):
        LightCnn(tmp_path / "odd.pth", 9).load()
    state["fc1.filter.bias"] = torch.zeros_like(state["fc1.filter.bias"])
    torch.save(state, tmp_path / "odd.pth")
    LightCnn(tmp_path / "odd.pth", 9).load()


def test_a_folder_is_no_file(tmp_path):
    for call in (lambda made: made.load(), pinned):
        with pytest.raises(InvalidValueError, match=f"got the folder {tmp_path}: name the file in it, such as vgg_"):
            call(VggFaceEncoder(tmp_path))


def test_a_program_is_refused_with_one_way_out(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", b"")
        archive.writestr("a/constants.pkl", b"")
    with pytest.raises(UnsafeFileError, match="TorchScript") as caught:
        VggFaceEncoder(tmp_path / "a.pt").load()
    assert str(caught.value).count("state_dict") == 1


def test_a_broken_file_is_not_blamed_on_a_picture(tmp_path, items):
    (tmp_path / "a.pth").write_bytes(b"not weights")
    with pytest.raises(InvalidValueError, match="must be a checkpoint of PyTorch or safetensors") as caught:
        LightCnn(tmp_path / "a.pth").encode(items["image"][0])
    assert not isinstance(caught.value, RejectedFileError)  # the executor would set each picture aside for it


def test_a_bare_pickle_is_refused(tmp_path):
    import pickle

    (tmp_path / "resnet50_ft_weight.pkl").write_bytes(pickle.dumps({"conv1.weight": np.zeros(3)}))
    with pytest.raises(UnsafeFileError, match=r"save its state_dict with torch.save"):
        VggFace2Encoder(tmp_path / "resnet50_ft_weight.pkl").load()


@pytest.mark.parametrize(
    ("spec", "error"),
    [("light-cnn/file=./a,layers=9,version=2", InvalidValueError), ("light-cnn/file=./a,layers=10", SpecError),
     ("light-cnn/layers=9", SpecError), ("vggface2/file=./a,blocks=vgg", SpecError),
     ("vggface/file=./a,view=centre", SpecError), ("vggface/file=./a,sha256=xyz", InvalidValueError),
     ("vggface/file=./a,sha256=abc", InvalidValueError)],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(spec, error):
    with pytest.raises(error):
        build(spec)


def test_python_is_told_like_a_spec(tmp_path):
    for made in (lambda: VggFace2Encoder(tmp_path, "vgg"), lambda: VggFaceEncoder(tmp_path, view="centre"),
                 lambda: LightCnn(tmp_path, 29, 3)):  # fmt: skip
        with pytest.raises(InvalidValueError, match="must"):
            made()


def test_without_torch_the_extra_is_named(monkeypatch, face_file):
    path = face_file("light-cnn-9")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lightmeter\[torch\]'"):
        LightCnn(path, 9).load()


# -- pixels ---------------------------------------------------------------------------------------------------------


def test_grey_is_that_of_open_cv():
    cv2 = pytest.importorskip("cv2")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    theirs = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float64)
    assert np.abs(grey(pixels)[0] * 255 - theirs).max() <= 1.001


def test_the_middle_square_is_that_of_the_authors_script(make_picture):
    """Resized so that the short side has 224 pixels, the long one rounded up, and the middle cut out."""
    from PIL import Image as pillow  # noqa: N813

    image = make_picture(3, 700, 1001)
    small = np.asarray(pillow.fromarray(image.pixels).resize((321, 224), pillow.Resampling.BILINEAR), float)
    theirs, ours = small[:, (321 - 224) // 2 :][:, :224], face_net.middle(image, 224).astype(float)
    assert np.abs(ours - theirs).mean() < 2, "a fraction of a pixel apart, at edges of blocks"
    assert np.abs(ours - small[:, 60:284]).mean() > 10


def test_a_box_grows_into_a_square():
    assert face_net.grown((10, 20, 30, 60), 0.5) == (-10, 10, 50, 70)


def test_eyes_come_to_their_places():
    """A picture whose colours are its coordinates, eyes turned by a quarter and twice as far apart."""
    down, across = np.mgrid[:240, :240]
    image = Image(np.stack([across, down, 0 * down], axis=2).astype(np.uint8))
    eyes, places = np.array([(120.0, 60.0), (120.0, 143.2)]), EYES
    seen = face_net.upright(image, eyes, places, 128).astype(int)
    assert seen.shape == (128, 128, 3)
    for (x, y), (column, row) in zip(eyes, places, strict=True):
        found = seen[round(row - 0.5), round(column - 0.5), :2]
        assert np.abs(found - (x - 0.5, y - 0.5)).max() <= 2
    assert (np.diff(seen[64, 20:110, 1]) >= 0).all(), "what was downwards is now to the right"
    assert (np.diff(seen[20:110, 64, 0]) <= 0).all()


def test_eyes_already_in_place_change_nothing():
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    np.testing.assert_array_equal(face_net.upright(Image(pixels), EYES, EYES, 128), pixels)
    shifted = face_net.upright(Image(pixels), EYES + (5, 0), EYES, 128)  # noqa: RUF005
    np.testing.assert_array_equal(shifted[:, :123], pixels[:, 5:])
    np.testing.assert_array_equal(shifted[:, 123:], np.repeat(pixels[:, 127:], 5, axis=1))
    with pytest.raises(InvalidValueError, match="two places"):
        face_net.upright(Image(pixels), np.zeros((2, 2)), EYES, 128)


def test_a_large_picture_is_averaged_not_sampled():
    pixels = np.zeros((1280, 1280, 3), np.uint8)
    pixels[::2] = 200
    seen = face_net.upright(Image(pixels), EYES * 10, EYES, 128)
    assert set(seen.ravel()) == {100}


@pytest.fixture
def face_there(monkeypatch):
    """A finder that sees a face where it is told, so that what follows from it can be seen without a photograph."""
    face_finding = pytest.importorskip("lightmeter.encoders.face_finding")
    found = face_finding.FoundFace((20.0, 10.0, 60.0, 50.0), np.array([(32.0, 25.0), (52.0, 25.0)]))

    def largest_face(image):
        if not image.pixels.any():
            raise RejectedFileError("no-face", "no face")
        return found

    monkeypatch.setattr(face_finding, "largest_face", largest_face)
    return found


def test_a_found_face_is_cut_and_turned(face_there, face_file, narrow_vggface, make_picture):
    from lightmeter.encoders.face_finding import cut

    image = make_picture(0, 90, 90)
    square = VggFace2Encoder(face_file("vggface2-resnet"), view="face")._pixels(image)
    by_hand = cut(image, (14.0, 4.0, 66.0, 56.0), 224)[..., ::-1] - np.float32([91.4953, 103.8827, 131.0912])
    np.testing.assert_allclose(square, by_hand.transpose(2, 0, 1), rtol=1e-6)
    square = VggFaceEncoder(face_file("vggface"), view="face")._pixels(image)
    by_hand = cut(image, (18.0, 8.0, 62.0, 52.0), 224) - np.float32([129.18628, 104.76238, 93.59396])
    np.testing.assert_allclose(square, by_hand.transpose(2, 0, 1), atol=1e-4)
    square = LightCnn(face_file("light-cnn-9"), 9, view="face")._pixels(image)
    np.testing.assert_array_equal(square, grey(face_net.upright(image, face_there.eyes, EYES, 128)))


def test_a_picture_without_a_face_is_rejected(face_there, face_file):
    nothing = Image(np.zeros((90, 90, 3), np.uint8))
    for encoder in (LightCnn(face_file("light-cnn-9"), 9, view="face"),
                    VggFace2Encoder(face_file("vggface2-resnet"), view="face")):  # fmt: skip
        assert encoder.short_side > 224
        with pytest.raises(RejectedFileError, match="no-face"):
            encoder.encode([nothing])


def test_dlib_sees_no_face_in_noise(face_file, items):
    pytest.importorskip("dlib")
    with pytest.raises(RejectedFileError, match="no-face"):
        LightCnn(face_file("light-cnn-9"), 9, view="face").encode(items["image"][0][:1])
