"""FSRCNN as an architecture of spandrel, through which ComfyUI, chaiNNer and others load weights files.

What could be offered to spandrel. A program can register it itself:
`MAIN_REGISTRY.add(ArchSupport.from_architecture(FSRCNNArch()))`.
"""

import torch
import torch.nn.functional as F
from spandrel import Architecture, ImageModelDescriptor, StateDict
from spandrel.util import KeyCondition, get_seq_len
from torch import Tensor

from exports.graph import bicubic_kernel
from fsrcnn.luma import GAIN, OFFSET, RGB_TO_YCBCR
from fsrcnn.resize import REACH
from fsrcnn.weights import SCALE_TENSOR
from model import FSRCNN


class ColourFSRCNN(FSRCNN):
    """FSRCNN on the luma of R, G, B, and bicubic interpolation of their colour: `rgb` of exports/graph.py.

    Input: N x 3 x H x W float in [0, 1]. Output: N x 3 x scale*H x scale*W, not clipped. The state dict is that of a
    weights file, with the scale as a scalar, which the other tensors' shapes do not tell.
    """

    to_luma: Tensor
    bicubic_kernel: Tensor

    def __init__(self, upscale_factor: int, d: int = 56, s: int = 12, m: int = 4) -> None:
        super().__init__(upscale_factor, d, s, m)
        del self.upscale_factor  # a number in FSRCNN
        self.register_buffer(SCALE_TENSOR, torch.tensor(upscale_factor))
        to_luma = torch.from_numpy(RGB_TO_YCBCR[0]).float().view(1, 3, 1, 1)
        self.register_buffer("to_luma", to_luma, persistent=False)
        kernel = torch.from_numpy(bicubic_kernel(upscale_factor)[:, None])
        self.register_buffer("bicubic_kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.sizes.upscale_factor
        padded = F.pad(x, [REACH] * 4, "replicate")
        large = F.pixel_shuffle(F.conv2d(padded, self.bicubic_kernel.repeat(3, 1, 1, 1), groups=3), scale)
        y = super().forward(F.conv2d(x, self.to_luma) + OFFSET)
        return large + (y - OFFSET - F.conv2d(large, self.to_luma)) / GAIN


class FSRCNNArch(Architecture[ColourFSRCNN]):
    """Tells FSRCNN's weights files, this project's, from those of other networks."""

    def __init__(self) -> None:
        detect = KeyCondition.has_all(
            SCALE_TENSOR,
            "feature_extraction.0.weight",
            "shrink.0.weight",
            "expand.0.weight",
            "expand.1.weight",
            "deconv.weight",
        )
        super().__init__(id="FSRCNN", detect=detect)

    def load(self, state_dict: StateDict) -> ImageModelDescriptor[ColourFSRCNN]:
        """Builds the network from its state dict, which may hold more than it has."""
        scale = int(state_dict[SCALE_TENSOR])
        shrink = state_dict["shrink.0.weight"]
        model = ColourFSRCNN(scale, shrink.shape[1], shrink.shape[0], get_seq_len(state_dict, "map") // 2)
        return ImageModelDescriptor(
            model,
            {name: state_dict[name] for name in model.state_dict()},
            architecture=self,
            purpose="SR",
            tags=[f"{model.sizes.d}d", f"{model.sizes.s}s", f"{model.sizes.m}m"],
            supports_half=True,
            supports_bfloat16=True,
            scale=scale,
            input_channels=3,
            output_channels=3,
        )
