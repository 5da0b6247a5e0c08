"""Scenes of the arm: drawn from a seed, compiled by MuJoCo, two families that share nothing but the arm."""

import sys
import xml.etree.ElementTree as Xml

import numpy as np
import pytest

from lightmeter.errors import MissingExtraError, UnknownNameError
from lightmeter.media.sawyer import scene as module
from lightmeter.media.sawyer.scene import FAMILIES, assets_folder, draw_scene, family_called


def test_families_share_no_texture_kind_or_view():
    one, other = FAMILIES.values()
    assert not set(one.textures) & set(other.textures)
    assert not set(one.kinds) & set(other.kinds)
    assert np.linalg.norm(np.subtract(one.eye, other.eye)) > 0.5
    with pytest.raises(UnknownNameError, match="did you mean 'sawyer'"):
        family_called("sawyers")


@pytest.mark.parametrize("kind", sorted({kind for family in FAMILIES.values() for kind in family.kinds}))
def test_a_thing_reaches_no_further_than_it_says(kind):
    parts, reach_m, lift_m = module._parts(kind, 0.03, 0.025, 0.02)
    assert 0 < lift_m <= reach_m
    for _, size, more in parts:
        middle = np.abs([float(each) for each in more.get("pos", "0 0 0").split()]).max()
        assert middle < reach_m
        assert min(size) <= reach_m


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"metaworld is needed .* pip install 'lightmeter\[sim\]'"):
        assets_folder()


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda each: each.name)
def test_scenes_compile(mujoco, family):
    scenes = [draw_scene(family, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert scenes[0].xml == scenes[1].xml != scenes[2].xml
    for texture in family.textures:
        assert (assets_folder() / "textures" / f"{texture}.png").is_file()
    model = mujoco.MjModel.from_xml_string(scenes[2].xml)
    assert model.nmeshface < 10_000
    assert all(model.body(f"thing{number}").id for number in range(len(scenes[2].things)))
    assert model.camera("camera").id == 0
    assert model.nsite == 0
    assert "metaworld" not in sys.modules


@pytest.mark.slow
def test_every_kind_lies_as_high_as_it_says(mujoco):
    """Dropped on a table, a thing's centre comes to rest where `lift_m` says."""
    for family in FAMILIES.values():
        for kind in family.kinds:
            for seed in range(3):
                world = Xml.Element("worldbody")
                rng = np.random.default_rng(seed)
                one = module.Family(
                    "x", (kind,), ("wood1",), family.eye, family.aim, 40, family.arm, things=(1, 2), wall_m=0.05
                )
                thing = module._thing(world, 0, one, rng)
                text = Xml.tostring(world, encoding="unicode").replace(
                    "<worldbody>", '<worldbody><geom type="plane" size="1 1 .1"/>'
                )
                model = mujoco.MjModel.from_xml_string(f'<mujoco><compiler angle="radian"/>{text}</mujoco>')
                data = mujoco.MjData(model)
                data.qpos[2] = thing.lift_m + 0.002
                mujoco.mj_step(model, data, 200)
                assert data.body("thing0").xpos[2] == pytest.approx(thing.lift_m, abs=0.006), kind
