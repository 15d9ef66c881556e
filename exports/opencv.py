"""A frozen TensorFlow graph for `cv2.dnn_superres` of OpenCV's contrib modules, which reads no other format."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from tensorboard.compat.proto import tensor_pb2, types_pb2
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef

from exports.request import ExportConfig
from exports.shared import Array, Exported, Luma, compared, convolutions, distance
from fsrcnn.geometry import phases
from fsrcnn.luma import GAIN, OFFSET
from fsrcnn.weights import Weights, weights_name


class Graph:
    """A chain of TensorFlow operations on N x H x W x C float32; inputs are named by their nodes."""

    def __init__(self) -> None:
        self.graph_def = GraphDef()
        self._numbers = itertools.count()

    def add(self, op: str, *inputs: str) -> NodeDef:
        node = self.graph_def.node.add(op=op, name=f"{op.lower()}_{next(self._numbers)}", input=inputs)
        node.attr["T" if inputs else "dtype"].type = types_pb2.DT_FLOAT
        return node

    def constant(self, values: Array | Iterable[float]) -> str:
        array = np.asarray(values, np.float32)
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

    def convolution(self, x: str, kernel: Array, biases: Array) -> str:
        """kernel: outputs x channels x k x k; the border is padded with zeros."""
        node = self.add("Conv2D", x, self.constant(kernel.transpose(2, 3, 1, 0)))
        node.attr["strides"].list.i.extend([1, 1, 1, 1])
        node.attr["padding"].s, node.attr["data_format"].s = b"SAME", b"NHWC"
        return self.add("BiasAdd", node.name, self.constant(biases)).name

    def prelu(self, x: str, slopes: Array) -> str:
        positive = self.add("Relu", x).name
        below = self.add("Mul", self.add("Sub", positive, x).name, self.constant(slopes)).name
        # Subtracted: OpenCV would take a sum with a product by a constant for a bias.
        return self.add("Sub", positive, below).name


def opencv_file(weights: Weights) -> bytes:
    """The network as DnnSuperResImpl's `readModel` takes it, for `setModel("fsrcnn", scale)`.

    Input: 1 x 1 x H x W, full-range Y in [0, 1], which is what the class passes; output: 1 x 1 x scale*H x scale*W. The
    conversion between full range and the networks' limited range has nodes of its own: folded into the first
    convolution it would change the border, where the networks pad with zeros.
    """
    graph = Graph()
    source = graph.add("Placeholder")
    for length in (1, -1, -1, 1):
        source.attr["shape"].shape.dim.add(size=length)
    x = graph.scaled(source.name, GAIN, OFFSET)
    for kernel, biases, slopes in convolutions(weights):
        x = graph.prelu(graph.convolution(x, kernel, biases), slopes)
    kernel = phases(weights.parameters["deconv.weight"], weights.upscale_factor)
    x = graph.convolution(x, kernel, np.repeat(weights.parameters["deconv.bias"], len(kernel)))
    # Before the shuffle, so that DepthToSpace is the last node, as in the files that the class was made for.
    x = graph.scaled(x, 1 / GAIN, -OFFSET / GAIN)
    shuffle = graph.add("DepthToSpace", x)
    shuffle.attr["block_size"].i = weights.upscale_factor
    shuffle.attr["data_format"].s = b"NHWC"
    return graph.graph_def.SerializeToString(deterministic=True)  # or attributes come in another order each time


def run_opencv(content: bytes, y: Luma) -> Luma:
    """Runs the file in OpenCV's dnn module: H x W full-range Y in [0, 1] to scale*H x scale*W.

    The last node, DepthToSpace, is done here in NumPy: OpenCV 4, to which dnn_superres belongs, reads it, 5 does not.
    """
    graph = GraphDef.FromString(content)
    scale = graph.node.pop().attr["block_size"].i
    network = cv2.dnn.readNetFromTensorflow(np.frombuffer(graph.SerializeToString(), np.uint8))
    network.setInput(y[None, None])
    by_phase = network.forward()[0].reshape(scale, scale, *y.shape)  # row and column of the phase, then H x W
    return by_phase.transpose(2, 0, 3, 1).reshape(scale * y.shape[0], scale * y.shape[1])


def export(path: Path, weights: Weights, _: ExportConfig) -> Iterator[Exported]:
    """A graph, compared with PyTorch in OpenCV's dnn module."""
    content = opencv_file(weights)
    error = distance(weights, lambda y: run_opencv(content, y), "luma_full")
    yield Exported(f"{weights_name(path)}.pb", content, compared(error))
