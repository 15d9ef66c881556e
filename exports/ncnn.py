"""ncnn, for Upscayl, realesrgan-ncnn-vulkan and other programs that enlarge R, G, B with ncnn on any GPU."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from exports.graph import INPUT, OUTPUT, Convolution, EdgePad, Layer, PRelu, Shuffle, Sum, network_layers
from exports.request import ExportConfig
from exports.shared import FLOAT16_TOLERANCE, Array, Exported, Luma, compared, distance, from_planes, planes
from fsrcnn.weights import Weights, weights_name

MAGIC = 7767517
FLOAT16_TAG = 0x01306B47
BLOBS = {INPUT: "data", OUTPUT: "output"}  # what the programs call the input and the output


def ncnn_files(weights: Weights) -> tuple[bytes, bytes]:
    """The .param and the .bin of the network from R, G, B to R, G, B, 3 x H x W float in [0, 1], not below 0.

    Has only layers that realesrgan-ncnn-vulkan compiles in. Its GPU code makes 255 of what is below 0 where a GPU does
    not limit it, so a PReLU does. It reduces values to 16 bits by cutting bits off, which shifts results by a third of
    a level of 255: here they are rounded.
    """
    *layers, last = network_layers(weights, "rgb")
    layers += [last._replace(output="unlimited"), PRelu(("unlimited",), OUTPUT, np.zeros(3))]
    uses = Counter(source for layer in layers for source in layer.sources)
    copies = {name: [f"{BLOBS.get(name, name)}_{i}" for i in range(count)] for name, count in uses.items() if count > 1}
    lines = [_line("Input", [], [BLOBS[INPUT]]), *_split(INPUT, copies)]
    free = {name: iter(made) for name, made in copies.items()}  # a blob can be taken once, so Split copies it
    for layer in layers:
        sources = [next(free[name]) if name in free else name for name in layer.sources]
        operator, parameters = _operator(layer)
        lines += [
            _line(operator, sources, [BLOBS.get(layer.output, layer.output)], parameters),
            *_split(layer.output, copies),
        ]
    blobs = sum(int(line.split()[3]) for line in lines)
    param = "\n".join([str(MAGIC), f"{len(lines)} {blobs}", *lines, ""])
    return param.encode(), b"".join(map(_stored, layers))


def _line(
    operator: str, sources: Sequence[str], outputs: Sequence[str], parameters: dict[int, int] | None = None
) -> str:
    values = [f"{key}={value}" for key, value in (parameters or {}).items()]
    return " ".join([operator, outputs[0], str(len(sources)), str(len(outputs)), *sources, *outputs, *values])


def _split(name: str, copies: dict[str, list[str]]) -> list[str]:
    return [_line("Split", [BLOBS.get(name, name)], copies[name])] if name in copies else []


def _operator(layer: Layer) -> tuple[str, dict[int, int]]:
    """ncnn's layer type and its parameters by their numbers."""
    match layer:
        case Convolution(kernel=kernel, padding=(before, after)):
            size = {0: len(kernel), 1: kernel.shape[3], 11: kernel.shape[2], 5: 1, 6: kernel.size}
            return "Convolution", size | {4: before, 14: before, 15: after, 16: after}
        case PRelu(slopes=slopes):
            return "PReLU", {0: len(slopes)}
        case Shuffle(scale=scale):
            return "PixelShuffle", {0: scale}
        case EdgePad(width=width):
            return "Padding", dict.fromkeys(range(4), width) | {4: 1}
        case Sum():
            return "BinaryOp", {0: 0}
    raise AssertionError(f"not in an ncnn file: {layer}")


def _stored(layer: Layer) -> bytes:
    """A layer's part of the .bin: kernels follow a tag and fill whole words, all else is float32."""
    match layer:
        case Convolution(kernel=kernel, biases=biases):
            content = kernel.astype(np.float16).tobytes()
            return np.uint32(FLOAT16_TAG).tobytes() + content + bytes(-len(content) % 4) + _rounded(biases)
        case PRelu(slopes=slopes):
            return _rounded(slopes)
    return b""


def _rounded(values: Array) -> bytes:
    return values.astype(np.float16).astype(np.float32).tobytes()


def run_ncnn(param: bytes, content: bytes, lr: Luma) -> Luma:
    """Runs the files on a CPU in 32 bits: R, G, B, H x W x 3 to scale*H x scale*W x 3."""
    import ncnn

    network = ncnn.Net()
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(network.opt, option, False)
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("network.param", "network.bin")]
        for path, part in zip(paths, (param, content), strict=True):
            path.write_bytes(part)
        network.load_param(str(paths[0]))
        network.load_model(str(paths[1]))
    extractor = network.create_extractor()
    memory = planes(lr)  # a Mat does not keep the array alive that it reads
    extractor.input(BLOBS[INPUT], ncnn.Mat(memory))
    _, sr = extractor.extract(BLOBS[OUTPUT])
    return from_planes(np.asarray(sr).copy())


def export(path: Path, weights: Weights, _: ExportConfig) -> Iterator[Exported]:
    """A .param and a .bin, compared with PyTorch in ncnn."""
    parts = ncnn_files(weights)
    error = distance(weights, lambda lr: run_ncnn(*parts, lr), "rgb", least=0)
    name, scale = weights_name(path), f"x{weights.upscale_factor}"
    name = name if scale in name else f"{name}_{scale}"  # Upscayl takes the scale from the name
    for suffix, content in zip((".param", ".bin"), parts, strict=True):
        yield Exported(f"{name}{suffix}", content, compared(error, tolerance=FLOAT16_TOLERANCE))
