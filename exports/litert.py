"""LiteRT (TensorFlow Lite), for Android, iOS and small computers."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from exports.graph import CHANNELS, INPUT, OUTPUT, Convolution, EdgePad, Layer, PRelu, Shuffle, Sum, network_layers
from exports.request import ExportConfig
from exports.shared import Array, Exported, Interface, Luma, compared, distance, file_name
from fsrcnn.weights import Weights

SCHEMA_VERSION, IDENTIFIER = 3, b"TFL3"
SIZE = 64  # the input's height and width until a program resizes it


class _Model:
    """A model of one graph, whose tensors are 1 x H x W x C float32, of any H and W."""

    def __init__(self, description: str) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.graph, self.model = schema.SubGraphT(), schema.ModelT()
        self.graph.tensors, self.graph.operators, self.model.operatorCodes = [], [], []
        self.model.version, self.model.description = SCHEMA_VERSION, description
        self.model.subgraphs, self.model.buffers = [self.graph], [schema.BufferT()]  # the first one is empty

    def constant(self, values: Array) -> int:
        """Adds a tensor of float32, or of int32 where the values are whole; returns its number."""
        whole = values.dtype.kind == "i"
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(values.astype(np.int32 if whole else np.float32).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        type_ = self.schema.TensorType.INT32 if whole else self.schema.TensorType.FLOAT32
        return self._tensor("", list(values.shape), type_, len(self.model.buffers) - 1)

    def variable(self, name: str, channels: int) -> int:
        """Adds a tensor that is given or calculated; returns its number."""
        number = self._tensor(name, [1, SIZE, SIZE, channels], self.schema.TensorType.FLOAT32, 0)
        self.graph.tensors[number].shapeSignature = [1, -1, -1, channels]
        return number

    def _tensor(self, name: str, shape: list[int], type_: int, buffer: int) -> int:
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, type_, buffer
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def add(self, operator: str, inputs: list[int], output: int, options: str = "", **values: int) -> None:
        """Adds an operator and its options by their names in the schema."""
        node = self.schema.OperatorT()
        node.opcodeIndex = self._code(getattr(self.schema.BuiltinOperator, operator))
        node.inputs, node.outputs = inputs, [output]
        if options:
            node.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            node.builtinOptions = getattr(self.schema, f"{options}T")()
            for name, value in values.items():
                setattr(node.builtinOptions, name, value)
        self.graph.operators.append(node)

    def _code(self, number: int) -> int:
        codes = self.model.operatorCodes
        for index, code in enumerate(codes):
            if code.builtinCode == number:
                return index
        code = self.schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = number
        code.version = 1
        codes.append(code)
        return len(codes) - 1

    def content(self) -> bytes:
        import flatbuffers

        builder = flatbuffers.Builder()
        builder.Finish(self.model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())


def litert_file(weights: Weights, interface: Interface) -> bytes:
    """The network as a model with one input, 1 x H x W x 1 or 3 float32, and one output of scale times the size.

    H and W are SIZE until a program resizes the input.
    """
    model = _Model(f"FSRCNN x{weights.upscale_factor}, {interface}, weights {weights.digest}")
    layers = _interleaved(network_layers(weights, interface))
    channels = {INPUT: CHANNELS[interface]}
    tensors = {INPUT: model.variable(INPUT, channels[INPUT])}
    for layer in layers:
        channels[layer.output] = _channels(layer, channels[layer.sources[0]])
        sources = [tensors[source] for source in layer.sources]
        tensors[layer.output] = model.variable(layer.output, channels[layer.output])
        _add(model, layer, sources, tensors[layer.output])
    model.graph.inputs, model.graph.outputs = [tensors[INPUT]], [tensors[OUTPUT]]
    return model.content()


def _interleaved(layers: list[Layer]) -> Iterator[Layer]:
    """The layers for a shuffle that takes phases of all channels in turn, not channels of all phases; a pad by one
    pixel at a time.
    """
    scales = {layer.sources[0]: layer.scale for layer in layers if isinstance(layer, Shuffle)}
    for layer in layers:
        if isinstance(layer, Convolution) and layer.output in scales:
            order = np.arange(len(layer.kernel)).reshape(-1, scales[layer.output] ** 2).T.flatten()
            yield layer._replace(kernel=layer.kernel[order], biases=layer.biases[order])
        elif isinstance(layer, EdgePad):
            names = [*layer.sources, *(f"{layer.output}.{width}" for width in range(1, layer.width)), layer.output]
            yield from (EdgePad((source,), output, 1) for source, output in itertools.pairwise(names))
        else:
            yield layer


def _channels(layer: Layer, channels: int) -> int:
    match layer:
        case Convolution(kernel=kernel):
            return len(kernel)
        case Shuffle(scale=scale):
            return channels // scale**2
    return channels


def _add(model: _Model, layer: Layer, sources: list[int], output: int) -> None:
    schema = model.schema
    match layer:
        case Convolution(kernel=kernel, biases=biases, padding=padding):
            size, valid = kernel.shape[2], padding == (0, 0)
            assert valid or padding == ((size - 1) // 2, size // 2)  # which is what SAME means
            constants = [model.constant(kernel.transpose(0, 2, 3, 1)), model.constant(biases)]
            mode = schema.Padding.VALID if valid else schema.Padding.SAME
            model.add("CONV_2D", sources + constants, output, "Conv2DOptions", padding=mode, strideW=1, strideH=1)
        case PRelu(slopes=slopes):
            model.add("PRELU", [*sources, model.constant(slopes.reshape(1, 1, -1))], output)
        case Shuffle(scale=scale):
            model.add("DEPTH_TO_SPACE", sources, output, "DepthToSpaceOptions", blockSize=scale)
        case EdgePad(width=1):  # mirrored with the edge itself, which repeats it
            widths = model.constant(np.array([[0, 0], [1, 1], [1, 1], [0, 0]]))
            model.add("MIRROR_PAD", [*sources, widths], output, "MirrorPadOptions", mode=schema.MirrorPadMode.SYMMETRIC)
        case Sum():
            model.add("ADD", sources, output, "AddOptions")
        case _:
            raise AssertionError(f"not in a LiteRT file: {layer}")


def run_litert(content: bytes, lr: Luma) -> Luma:
    """Runs the model on a CPU: H x W or H x W x 3 to scale times the size."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    place = interpreter.get_input_details()[0]["index"]
    picture = np.atleast_3d(lr)[None]
    interpreter.resize_tensor_input(place, picture.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(place, picture)
    interpreter.invoke()
    sr = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
    return sr[..., 0] if sr.shape[2] == 1 else sr


def export(path: Path, weights: Weights, config: ExportConfig) -> Iterator[Exported]:
    """A model, compared with PyTorch in LiteRT's interpreter."""
    interface = config.interface or "luma"
    assert interface != "pictures"  # which this format does not have
    content = litert_file(weights, interface)
    error = distance(weights, lambda lr: run_litert(content, lr), interface)
    yield Exported(file_name(path, interface, ".tflite"), content, compared(error))
