"""Captions by tiny random models of the real classes: what they are asked, and what is made of their answer."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil

import numpy as np
import pytest

from lightmeter.encoders.captioning.llava import _squared, without_quotes
from lightmeter.encoders.captioning.protocol import Captioner, as_rgb
from lightmeter.errors import InvalidValueError, MissingAssetError, SpecError, UnsafeFileError
from lightmeter.parts import build

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

KINDS = ("llava", "vlm", "blip", "florence2")
NAMES = ["cat/1.png", "cat/2.png", "dog/1.png"]
CLASSES = ["cat", "cat", "dog"]
PUBLISHED = (  # seed 002's code, read there
    b"Describe the physical appearance of the tench, Tinca tinca in the image.Include details about its shape, "
    b"posture, color, and any distinct features."
)


def of(kind, folder, **options):
    told = "".join(f",{name}={value}" for name, value in {"max_tokens": 6, **options}.items())
    return build(f"{kind}/folder='{folder}'{told}", "captioner")


@pytest.fixture
def pictures(made):
    return [made(0, 40, 50), made(1, 32, 32, 1), made(2, 64, 30)]


@pytest.mark.parametrize("kind", KINDS, scope="class")
class TestEveryModel:
    def test_is_a_captioner(self, kind, model_folder):
        made = of(kind, model_folder(kind))
        assert isinstance(made, Captioner)
        assert build(made.spec, "captioner") == made
        assert pickle.loads(pickle.dumps(made)) == made
        assert made.fingerprint.startswith(made.spec)
        assert made.size_bytes > 100_000
        assert made.short_side is None

    def test_is_blind_to_its_batch(self, kind, model_folder, pictures):
        made = of(kind, model_folder(kind))
        whole = made.caption(pictures, CLASSES, NAMES)
        assert len(whole) == 3
        assert all(isinstance(each, str) and each == " ".join(each.split()) for each in whole)
        assert made.caption(pictures[1:2], CLASSES[1:2], NAMES[1:2]) == whole[1:2]
        assert made.caption([], [], []) == []

    def test_draws_by_seed_and_name(self, kind, model_folder, pictures):
        drawn = of(kind, model_folder(kind), temperature=5.0, beams=1, max_tokens=3)
        pictures, classes, names = pictures[1:], CLASSES[1:], NAMES[1:]
        before = torch.get_rng_state()
        first = drawn.caption(pictures, classes, names)
        assert torch.equal(torch.get_rng_state(), before), "the caller's draws go on as if nothing had been drawn"
        torch.manual_seed(7)
        assert drawn.caption(pictures, classes, names) == first
        assert dataclasses.replace(drawn, seed=1).caption(pictures, classes, names) != first
        assert drawn.caption(pictures[:1], classes[:1], ["other.png"]) != first[:1]

    def test_several_at_once_without_draws(self, kind, model_folder, pictures):
        made = of(kind, model_folder(kind), temperature=0.0)
        assert dataclasses.replace(made, batch=2).caption(pictures, CLASSES, NAMES) == made.caption(
            pictures, CLASSES, NAMES
        )

    def test_says_nothing_of_its_own(self, kind, model_folder, pictures, capfd):
        of(kind, model_folder(kind), seed=3).caption(pictures, CLASSES, NAMES)
        assert capfd.readouterr() == ("", "")

    def test_missing_files_are_named(self, kind, tmp_path):
        made = of(kind, tmp_path / "none")
        wanted = r"lacks config.json, tokenizer.json, preprocessor_config.json, model.safetensors: put there what"
        for ask in (made.load, lambda: made.fingerprint):
            with pytest.raises(MissingAssetError, match=wanted):
                ask()


def test_llava_is_asked_as_published_byte_for_byte(model_folder, made):
    from PIL import Image as Pillow

    captioner = of("llava", model_folder("llava"), published="true")
    assert captioner.question("tench, Tinca tinca").encode() == PUBLISHED
    _, processor = captioner._kept()
    inputs = captioner._inputs(processor, [Pillow.fromarray(made(0, 20, 40))], "tench, Tinca tinca")
    talk = processor.tokenizer.decode(inputs["input_ids"][0])
    assert talk.replace("<image>" * 16, "<image>").encode() == (
        b"A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, "
        b"detailed, and polite answers to the human's questions. USER: <image>\n" + PUBLISHED + b" ASSISTANT:"
    )


def test_llava_is_asked_with_the_space_otherwise(model_folder, made):
    from PIL import Image as Pillow

    captioner = of("llava", model_folder("llava"))
    assert captioner.question("cat").encode() == PUBLISHED.replace(b"tench, Tinca tinca", b"cat").replace(
        b".Include", b". Include"
    )
    _, processor = captioner._kept()
    inputs = captioner._inputs(processor, [Pillow.fromarray(made(0, 20, 40))], "cat")
    talk = processor.tokenizer.decode(inputs["input_ids"][0]).replace("<image>" * 16, "<image>")
    assert talk == f"USER: <image>\n{captioner.question('cat')} ASSISTANT:"
    assert captioner.temperature == 0.2
    assert captioner.beams == 1
    assert build("llava/folder=/x", "captioner").max_tokens == 1024


def test_published_pictures_become_square():
    from PIL import Image as Pillow

    wide = Pillow.fromarray(np.full((2, 6, 3), 200, np.uint8))
    square = np.asarray(_squared(wide, (0.5, 0.25, 0.0)))
    assert square.shape == (6, 6, 3)
    assert (square[2:4] == 200).all()
    assert (square[[0, 1, 4, 5]] == (127, 63, 0)).all()
    tall = np.asarray(_squared(wide.transpose(Pillow.Transpose.ROTATE_90), (0.5, 0.25, 0.0)))
    assert (tall[:, 2:4] == 200).all()


def test_llava_answers_as_its_model_does(model_folder, made):
    """Greedy: what transformers itself gives for the same talk, tokens in front cut off, quotes deleted."""
    captioner = of("llava", model_folder("llava"), temperature=0.0)
    picture = made(5, 32, 32)
    processor = transformers.LlavaProcessor.from_pretrained(model_folder("llava"), backend="pil")
    model = transformers.LlavaForConditionalGeneration.from_pretrained(model_folder("llava"))
    text = f"USER: <image>\n{captioner.question('cat')} ASSISTANT:"
    inputs = processor(images=[as_rgb(picture)], text=[text], return_tensors="pt")
    with torch.no_grad():
        tokens = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    answer = processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert captioner.caption([picture], ["cat"], ["x"]) == [" ".join(without_quotes(answer).split())]


def test_quotes_and_possessives_go():
    assert without_quotes("The \"dog\"'s coat isn't the cat's") == "The dog coat isn't the cat"


def test_blip_goes_on_from_its_prompt(model_folder, pictures):
    told = of("blip", model_folder("blip")).caption(pictures, ["cat", "", "dog"], NAMES)
    assert [each.startswith(f"a photo of a {name}") for each, name in zip(told, ("cat", "object", "dog"), strict=True)]
    assert told[0] != "a photo of a cat"
    free = dataclasses.replace(of("blip", model_folder("blip")), prompt="").caption(pictures, CLASSES, NAMES)
    assert not any(each.startswith("a photo") for each in free)


def test_florence_is_asked_for_its_longest(model_folder, made):
    from PIL import Image as Pillow

    captioner = of("florence2", model_folder("florence2"))
    _, processor = captioner._kept()
    asked = captioner._inputs(processor, [Pillow.fromarray(made(0))], "cat")["input_ids"][0]
    assert "Describe with a paragraph what is shown in the image." in processor.tokenizer.decode(asked)
    with pytest.raises(InvalidValueError, match="task must be one of <CAPTION>"):
        dataclasses.replace(captioner, task="<OD>")


def test_a_vlm_sees_the_picture_and_the_question(model_folder, made):
    captioner = of("vlm", model_folder("vlm"), max_tokens=12)
    one, other = captioner.caption([made(0), made(9)], ["cat", "cat"], ["a", "b"])
    assert one != other, "another picture"
    other = dataclasses.replace(captioner, prompt="What is {class}?").caption([made(0)], ["cat"], ["a"])
    assert [one] != other, "another question"


class TestFolders:
    def test_a_folder_without_a_template_is_named(self, model_folder, tmp_path, pictures):
        folder = shutil.copytree(model_folder("vlm"), tmp_path / "bare")
        (folder / "chat_template.jinja").unlink()
        with pytest.raises(MissingAssetError, match=r"lacks chat_template.jinja"):
            of("vlm", folder).caption(pictures, CLASSES, NAMES)

    def test_llava_knows_its_own_template(self, model_folder, tmp_path, pictures):
        folder = shutil.copytree(model_folder("llava"), tmp_path / "bare")
        (folder / "chat_template.jinja").unlink()
        plain = of("llava", folder, temperature=0.0).caption(pictures, CLASSES, NAMES)
        assert plain == of("llava", model_folder("llava"), temperature=0.0).caption(pictures, CLASSES, NAMES)

    def test_another_family_is_named(self, model_folder):
        with pytest.raises(InvalidValueError, match=r"must hold a model of type llava, its config.json says 'blip'"):
            of("llava", model_folder("blip")).load()

    def test_a_model_that_reads_no_pictures_is_named(self, model_folder, tmp_path):
        folder = shutil.copytree(model_folder("vlm"), tmp_path / "other")
        (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
        with pytest.raises(
            InvalidValueError, match=r"that transformers turns pictures into text with, .* says 'llama'"
        ):
            of("vlm", folder).load()

    def test_a_pickle_is_refused(self, model_folder, tmp_path):
        folder = shutil.copytree(model_folder("blip"), tmp_path / "pickled")
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(UnsafeFileError, match="a pickle, which is never read"):
            of("blip", folder).load()

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_a_gpu_that_is_not_there_is_refused(self, model_folder):
        with pytest.raises(InvalidValueError, match="device must be cpu, got cuda"):
            of("blip", model_folder("blip"), device="cuda").load()

    def test_a_folder_can_be_held_to_what_it_holds(self, model_folder, tmp_path, pictures):
        folder = shutil.copytree(model_folder("blip"), tmp_path / "pinned")
        pinned = of("blip", folder).pinned()
        assert len(pinned.sha256) == 16
        pinned.caption(pictures[:1], CLASSES[:1], NAMES[:1])
        (folder / "generation_config.json").write_text("{}")
        with pytest.raises(MissingAssetError, match="must have the sha256"):
            pinned.caption(pictures[:1], CLASSES[:1], NAMES[:1])


@pytest.mark.parametrize(
    ("options", "said"),
    [("max_tokens=0", "max_tokens must be 1 or more"), ("temperature=-1.0", "temperature must be from 0"),
     ("temperature=1.0,beams=2", "beams must be 1 where captions"), ("prompt=' '", "prompt must be a question"),
     ("precision=int8", "precision must be one of")],
)  # fmt: skip
def test_options_that_cannot_be(options, said):
    with pytest.raises((InvalidValueError, SpecError), match=said):
        build(f"vlm/folder=/x,{options}", "captioner")
