"""A frozen TensorFlow graph for `cv2.dnn_superres` of OpenCV's contrib modules, which reads no other format."""

import itertools
from collections.abc import Iterable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tensorboard.compat.proto import tensor_pb2, types_pb2
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from torch import Tensor, nn
from torch.nn import functional

from model import FSRCNN
from native.packing import phases

# The class gives Y in full range; the networks know the 16..235 of MATLAB's rgb2ycbcr.
GAIN, OFFSET = 219 / 255, 16 / 255


class Graph:
    """A chain of TensorFlow operations on N x H x W x C float32, each upon the last one unless it says otherwise."""

    def __init__(self) -> None:
        self.graph_def = GraphDef()
        self._numbers = itertools.count()

    def add(self, op: str, *inputs: str) -> NodeDef:
        node = self.graph_def.node.add(op=op, name=f"{op.lower()}_{next(self._numbers)}", input=inputs)
        node.attr["T" if inputs else "dtype"].type = types_pb2.DT_FLOAT
        return node

    def constant(self, values: Tensor | Iterable[float]) -> str:
        array: NDArray[np.float32] = np.asarray(values, np.float32)
        node = self.add("Const")
        tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=array.tobytes())
        for length in array.shape:
            tensor.tensor_shape.dim.add(size=length)
        node.attr["value"].tensor.CopyFrom(tensor)
        return node.name

    def scaled(self, x: str, gain: float, offset: float) -> str:
        """gain * x + offset."""
        product = self.add("Mul", x, self.constant([gain])).name
        return self.add("BiasAdd", product, self.constant([offset])).name

    def convolution(self, x: str, weight: Tensor, bias: Tensor) -> str:
        """weight: outputs x channels x k x k; the border is padded with zeros."""
        node = self.add("Conv2D", x, self.constant(weight.permute(2, 3, 1, 0).contiguous()))
        node.attr["strides"].list.i.extend([1, 1, 1, 1])
        node.attr["padding"].s, node.attr["data_format"].s = b"SAME", b"NHWC"
        return self.add("BiasAdd", node.name, self.constant(bias)).name

    def prelu(self, x: str, slopes: Tensor) -> str:
        positive = self.add("Relu", x).name
        below = self.add("Mul", self.add("Sub", positive, x).name, self.constant(slopes)).name
        # Taken off, because OpenCV takes what is added to a product by a constant for a bias.
        return self.add("Sub", positive, below).name


@torch.no_grad()
def opencv_file(model: FSRCNN) -> bytes:
    """The network as DnnSuperResImpl's `readModel` takes it, for `setModel("fsrcnn", scale)`.

    Input 1 x 1 x H x W, full-range Y in [0, 1], as the class makes it; output 1 x 1 x scale*H x scale*W. The conversion
    between ranges is in nodes of its own: folded into the first convolution, it would change the border, where the
    networks take what is beyond for 0.
    """
    graph = Graph()
    source = graph.add("Placeholder")
    for length in (1, -1, -1, 1):
        source.attr["shape"].shape.dim.add(size=length)
    x = graph.scaled(source.name, GAIN, OFFSET)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.PReLU)]
    for layer in layers:
        if isinstance(layer, nn.PReLU):
            x = graph.prelu(x, layer.weight)
        else:
            x = graph.convolution(x, layer.weight, layer.bias)
    kernel = phases(model.deconv.weight, model.upscale_factor)
    x = graph.convolution(x, kernel, model.deconv.bias.expand(len(kernel)))
    # Before the shuffle, so that DepthToSpace is the last node, as in the files that the class was made for.
    x = graph.scaled(x, 1 / GAIN, -OFFSET / GAIN)
    shuffle = graph.add("DepthToSpace", x)
    shuffle.attr["block_size"].i = model.upscale_factor
    shuffle.attr["data_format"].s = b"NHWC"
    return graph.graph_def.SerializeToString()


def run_opencv(content: bytes, y: NDArray[np.float32]) -> NDArray[np.float32]:
    """What OpenCV's dnn module makes of 1 x 1 x H x W full-range Y in [0, 1] with the file.

    The last node, DepthToSpace, is done here: OpenCV 5 cannot read it, other than 4.x, to which dnn_superres belongs.
    """
    graph = GraphDef.FromString(content)
    scale = graph.node.pop().attr["block_size"].i
    network = cv2.dnn.readNetFromTensorflow(np.frombuffer(graph.SerializeToString(), np.uint8))
    network.setInput(y)
    return functional.pixel_shuffle(torch.from_numpy(network.forward()), scale).numpy()
