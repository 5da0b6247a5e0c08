"""A segmenter as one ONNX file, which runs without torch and without Lightmeter."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.assets.files import write_whole
from lightmeter.encoders.runtime import threads
from lightmeter.errors import InvalidValueError
from lightmeter.parts import need
from lightmeter.types import Array

if TYPE_CHECKING:
    from lightmeter.heads.segmenting.segmenter import Segmenter

_OPSET = 17
_TOLERANCE = 1e-3
_FRAMES = 2


def export_onnx(segmenter: Segmenter, path: Path | str) -> float:
    """Write encoder and head as ONNX: `frames` uint8 [T, height, width, 3] RGB → `logits` float32 [height, width].

    The logits are less the threshold: above 0 is inside. T is what the encoder looks at (`encoder.frames`): with
    clip=static the picture T times, with clip=real the frames around it, the labelled one in the middle. One picture a
    run; sizes, specs and threshold stand in the file's metadata.
    Returns the largest difference of a logit between the file in onnxruntime and torch, on frames of noise, as a share
    of the largest logit; it is written only where that is below 0.001.
    Raises InvalidValueError for an encoder that has no torch network, and where an operation has no ONNX.
    """
    try:
        module = segmenter.module()
    except InvalidValueError as error:
        name = segmenter.encoder.spec.partition("/")[0]
        raise InvalidValueError(f"ONNX needs an encoder that is a torch network, got {name}: {error}") from error
    data = _named(_exported(segmenter, module), segmenter)
    apart = _apart(segmenter, data)
    if not apart <= _TOLERANCE:
        raise InvalidValueError(
            f"logits in onnxruntime must be those of torch, got a difference of {apart:.2g} of the largest: nothing is "
            "written"
        )
    write_whole(path, data)
    return apart


def _exported(segmenter: Segmenter, module: Any) -> bytes:
    torch = need("torch", "torch")
    from lightmeter.nets.segment_export import FramesToLogits

    torch.set_num_threads(threads())
    net = FramesToLogits(module, segmenter.threshold).eval()
    shape = (segmenter.encoder.frames, segmenter.height, segmenter.width, 3)
    target = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter that does not trace needs a package that we do not ask for; this one warns that it is the older
        # one, and of shapes that become fixed, which they are. What it makes is compared with torch afterwards.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                net, (torch.zeros(shape, dtype=torch.uint8),), target, dynamo=False, opset_version=_OPSET,
                input_names=["frames"], output_names=["logits"],
            )  # fmt: skip
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            said = " ".join(str(error).split())[:200]
            raise InvalidValueError(f"{segmenter.encoder.spec} must have ONNX for all it does, got {said}") from error
    return target.getvalue()


def _named(data: bytes, segmenter: Segmenter) -> bytes:
    """What it is, in the file's metadata."""
    import onnx

    model = onnx.load_from_string(data)
    onnx.helper.set_model_props(
        model,
        {
            "encoder": segmenter.encoder.spec, "head": segmenter.head.spec, "threshold": repr(segmenter.threshold),
            "height": str(segmenter.height), "width": str(segmenter.width), "made_by": "lightmeter",
        },
    )  # fmt: skip
    made: bytes = model.SerializeToString()
    return made


def _apart(segmenter: Segmenter, data: bytes) -> float:
    """The largest difference on frames of noise, of the largest logit."""
    import onnxruntime as ort

    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    encoder, worst = segmenter.encoder, 0.0
    rng = np.random.default_rng(0)
    for _ in range(_FRAMES):
        clip = rng.integers(0, 256, (1, encoder.frames, segmenter.height, segmenter.width, 3), np.uint8)
        seen, _place = encoder.windows(clip, np.array([encoder.frames // 2]))
        ours: Array = segmenter.predict_logits(seen, _place)[0] - np.float32(segmenter.threshold)
        theirs = session.run(["logits"], {"frames": seen[0]})[0]
        worst = max(worst, float(np.abs(ours - theirs).max() / max(1.0, float(np.abs(ours).max()))))
    return worst
