"""VGGFace in torch: VGG-16 trained on 2,622 people; names are those of the converted file `vgg_face_dag.pth`."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from lightmeter.nets.face_plans import VGG_DIM, VGG_SIDE, VGG_STAGES


class VggFace(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """RGB pixels [N, 3, 224, 224] in 0..255 less their mean -> fc7 after its ReLU, [N, 4096].

    width: divides the channels of all layers but fc7, for tests; 1 is what is published.
    The layer of classes (`fc8`) is left out, and so is dropout, which does nothing outside of training.
    Cost: 15.5 G MACs, 138 M weights with the classes.
    Source: Parkhi, Vedaldi & Zisserman, "Deep face recognition", BMVC 2015, table 3.
    """

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        before = 3
        for stage, (channels, convolutions) in enumerate(VGG_STAGES, start=1):
            for number in range(1, convolutions + 1):
                setattr(self, f"conv{stage}_{number}", nn.Conv2d(before, channels // width, 3, padding=1))
                before = channels // width
        self.fc6 = nn.Linear(before * (VGG_SIDE >> len(VGG_STAGES)) ** 2, VGG_DIM // width)
        self.fc7 = nn.Linear(VGG_DIM // width, VGG_DIM)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, 224, 224] -> [N, 4096], all >= 0"""
        for stage, (_, convolutions) in enumerate(VGG_STAGES, start=1):
            for number in range(1, convolutions + 1):
                x = functional.relu(self.get_submodule(f"conv{stage}_{number}")(x))
            x = functional.max_pool2d(x, 2)
        x = functional.relu(self.fc6(x.flatten(1)))
        return functional.relu(self.fc7(x))
