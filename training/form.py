"""The form of FSRCNN for training: the paper's network, with its error on patches and the gradient computed fast."""

import math

import torch
from torch import Tensor

from fsrcnn import native
from fsrcnn.pytorch import subpixel_deconvolution, subpixel_kernel
from model import FSRCNN

if native.HOST:
    from training import gradient


class TrainingFSRCNN(FSRCNN):
    """FSRCNN with its deconvolution computed as a convolution and a pixel shuffle; same parameters, same state dict.

    On a CPU the error of float32 patches and its gradient come from one compiled function (see training/gradient.py).
    """

    @classmethod
    def from_model(cls, model: FSRCNN) -> "TrainingFSRCNN":
        """The network with a copy of the model's weights."""
        form = cls(**model.sizes._asdict())
        form.load_state_dict(model.state_dict())
        return form

    def forward(self, x: Tensor) -> Tensor:
        return self._enlarged(self.features(x))

    def _enlarged(self, features: Tensor) -> Tensor:
        kernel = subpixel_kernel(self.deconv.weight, self.upscale_factor)
        bias = self.get_parameter("deconv.bias")
        return subpixel_deconvolution(features, kernel, bias, self.upscale_factor)

    def error(self, lr: Tensor, hr: Tensor, squared: bool) -> Tensor:
        """The sum of the absolute or squared differences from hr, N x 1 x scale*H x scale*W in [0, 1].

        lr, N x 1 x H x W, may have a margin, 2 more pixels on each side, which the first convolution then sees in place
        of zeros. hr may lack its last rows and columns, fewer than `scale`.
        """
        if native.HOST and _on_cpu(lr) and _on_cpu(self.deconv.weight):
            return gradient.error(lr, hr, self.sizes, list(self.parameters()), squared, native.HOST)
        height, width = hr.shape[2:]
        margin = (lr.shape[3] - math.ceil(width / self.upscale_factor)) // 2
        features = self.feature_extraction(lr)[..., margin : lr.shape[2] - margin, margin : lr.shape[3] - margin]
        sr = self._enlarged(self.expand(self.map(self.shrink(features))))
        difference = sr[..., :height, :width] - hr
        return (difference.square() if squared else difference.abs()).sum()


def _on_cpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32
