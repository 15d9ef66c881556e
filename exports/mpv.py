"""A GLSL user shader for mpv (`--glsl-shader=`) and every other player that draws with libplacebo."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import skimage.data
from numpy.typing import NDArray

from exports.request import ExportConfig
from exports.shared import Array, Exported, compared, convolutions, reference
from fsrcnn.errors import FailureError
from fsrcnn.geometry import FEATURES_KERNEL, phases
from fsrcnn.luma import BLACK_LEVEL, PEAK, WHITE_LEVEL
from fsrcnn.weights import Weights, weights_name
from imgproc import psnr, to_uint8

LEAST_PSNR = 45.0  # in dB, between what is drawn, through textures of half precision, and PyTorch's result

_HEADER = """\
// {title}, made from its weights by export.py. Licence: Apache-2.0.
// Works on luma as videos hold it, {luma}; runs where the picture is enlarged. Beyond the border textures
// repeat their edge, where the network has zeros: the outermost pixels differ from the network's.
"""
# WHEN is in reverse Polish notation: where the picture is enlarged in both directions.
_PASS = """
//!DESC {title}, {name}
//!HOOK LUMA
{binds}
{save}//!WIDTH LUMA.w {scale} *
//!HEIGHT LUMA.h {scale} *
//!COMPONENTS {components}
//!WHEN OUTPUT.w LUMA.w > OUTPUT.h LUMA.h > *
vec4 hook() {{
{body}
}}
"""


def _vector(values: Array) -> str:
    return f"vec4({', '.join(f'{value:.6g}' for value in values.tolist())})"


def _matrix(values: Array) -> str:
    """values: 4 outputs x 4 inputs; GLSL writes a matrix column by column."""
    return f"mat4({', '.join(f'{value:.6g}' for value in values.T.flatten().tolist())})"


def _by_fours(values: Array, *axes: int) -> Array:
    """Appends zeros along the axes to make their lengths multiples of four."""
    return np.pad(values, [(0, -length % 4 if axis in axes else 0) for axis, length in enumerate(values.shape)])


def _prelu(name: str, slopes: Array) -> str:
    return f"{name} = max({name}, 0.0) + {_vector(slopes)} * min({name}, 0.0);"


class _Shader:
    """The text of the passes, each of which writes one texture of four channels."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.text = _HEADER.format(title=title, luma=f"{BLACK_LEVEL}..{WHITE_LEVEL} of {PEAK}")

    def add(self, name: str, sources: list[str], lines: list[str], *, scale: int = 1, last: bool = False) -> str:
        binds = "\n".join(f"//!BIND {source}" for source in sources)
        body = "\n".join(f"    {line}" for line in lines)
        said = {"title": self.title, "name": name.lower(), "binds": binds, "body": body, "scale": scale}
        self.text += _PASS.format(**said, save="" if last else f"//!SAVE {name}\n", components=1 if last else 4)
        return name

    def add_convolution(
        self, name: str, sources: list[str], kernel: Array, biases: Array, slopes: Array | None
    ) -> list[str]:
        """Adds a pass for every four outputs; returns the textures that they write. kernel: outputs x channels x k x k;
        the sources hold the channels in order, four each.
        """
        kernel, biases = _by_fours(kernel, 0, 1), _by_fours(biases, 0)
        reach, textures = kernel.shape[2] // 2, []
        for first in range(0, len(kernel), 4):
            lines = [f"vec4 sum = {_vector(biases[first : first + 4])};"]
            for i, source in enumerate(sources):
                part = kernel[first : first + 4, 4 * i : 4 * i + 4]
                for row, column in np.argwhere(part.any((0, 1))):
                    at = f"vec2({column - reach}.0, {row - reach}.0)"
                    lines.append(f"sum += {_matrix(part[:, :, row, column])} * {source}_texOff({at});")
            lines += [] if slopes is None else [_prelu("sum", _by_fours(slopes, 0)[first : first + 4])]
            textures.append(self.add(f"{name}{first // 4}", sources, [*lines, "return sum;"]))
        return textures


def _features_and_shrink(weights: Weights, first: int) -> Iterator[str]:
    """The lines for four outputs of the shrinking convolution, from `first` on. The features that they need, more than
    a texture holds, are computed anew for each four.
    """
    (kernel, biases, slopes), (kernel_1x1, biases_1x1, slopes_1x1) = convolutions(weights)[:2]
    shrink = _by_fours(kernel_1x1[:, :, 0, 0], 0)[first : first + 4]
    places = list(np.ndindex(FEATURES_KERNEL, FEATURES_KERNEL))
    middle = FEATURES_KERNEL // 2
    for row, column in places:
        yield f"float p{row}{column} = LUMA_texOff(vec2({column - middle}.0, {row - middle}.0)).x;"
    yield f"vec4 f, sum = {_vector(_by_fours(biases_1x1, 0)[first : first + 4])};"
    for d in range(0, len(kernel), 4):
        yield f"f = {_vector(biases[d : d + 4])};"
        for row, column in places:
            yield f"f += {_vector(kernel[d : d + 4, 0, row, column])} * p{row}{column};"
        yield _prelu("f", slopes[d : d + 4])
        yield f"sum += {_matrix(shrink[:, d : d + 4])} * f;"
    yield _prelu("sum", _by_fours(slopes_1x1, 0)[first : first + 4])
    yield "return sum;"


def _shuffle(textures: list[str], scale: int) -> list[str]:
    """The lines that take each large pixel from its texture and channel, which hold the phases row by row."""
    name = textures[0]
    lines = [
        f"vec2 place = fract({name}_pos * {name}_size);",
        f"vec2 pixel = {name}_pos + (vec2(0.5) - place) * {name}_pt;",
        f"ivec2 phase = ivec2(place * {scale}.0);",
        f"int number = phase.y * {scale} + phase.x;",
        f"vec4 values = {name}_tex(pixel);",
    ]
    lines += [f"if (number >= {4 * i}) values = {each}_tex(pixel);" for i, each in enumerate(textures) if i]
    return [*lines, "return vec4(values[number % 4], 0.0, 0.0, 1.0);"]


def mpv_file(weights: Weights, title: str) -> str:
    """The network as a user shader that enlarges the luma plane; title: the name that a player shows for it."""
    shader, sources = _Shader(title), []
    for first in range(0, weights.sizes.s, 4):
        sources.append(shader.add(f"SHRINK{first // 4}", ["LUMA"], list(_features_and_shrink(weights, first))))
    *mapping, expand = convolutions(weights)[2:]
    for number, layer in enumerate(mapping):
        sources = shader.add_convolution(f"MAP{number}_", sources, *layer)
    sources = shader.add_convolution("EXPAND", sources, *expand)
    kernel = phases(weights.parameters["deconv.weight"], weights.upscale_factor)
    biases = np.repeat(weights.parameters["deconv.bias"], len(kernel))
    sources = shader.add_convolution("PHASES", sources, kernel, biases, None)
    scale = weights.upscale_factor
    shader.add("SHUFFLE", sources, _shuffle(sources, scale), scale=scale, last=True)
    return shader.text


def run_mpv(shader: Path, luma: NDArray[np.uint8], scale: int, enlarged: int | None = None) -> NDArray[np.uint8]:
    """Draws H x W limited-range luma, rounded, with a shader for a scale in FFmpeg's libplacebo filter.

    enlarged: how many times as large it is drawn; None: scale times. Raises OSError where there is no FFmpeg, and
    subprocess.CalledProcessError where it has no libplacebo, or no Vulkan device (Mesa's llvmpipe is one).
    """
    (height, width), times = luma.shape, enlarged or scale
    colours = "color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
    filters = [
        f"setparams={colours}",
        "hwupload",
        f"libplacebo=w=iw*{times}:h=ih*{times}:custom_shader_path={shader.name}:dithering=none:{colours}",
        "hwdownload",
        "format=yuv444p",
    ]
    command = "ffmpeg -v error -init_hw_device vulkan=device -filter_hw_device device".split()
    command += ["-f", "rawvideo", "-pix_fmt", "yuv444p", "-s", f"{width}x{height}", "-i", "-"]
    command += ["-vf", ",".join(filters), "-f", "rawvideo", "-"]
    frame = luma.tobytes() + bytes([128]) * (2 * luma.size)
    done = subprocess.run(command, input=frame, capture_output=True, check=True, cwd=shader.parent)
    planes = np.frombuffer(done.stdout, np.uint8).reshape(3, times * height, times * width)
    return planes[0]


def export(path: Path, weights: Weights, _: ExportConfig) -> Iterator[Exported]:
    """A shader, compared with PyTorch as FFmpeg draws it, inside the border."""
    content = mpv_file(weights, weights_name(path)).encode()
    scale, lr = weights.upscale_factor, np.clip(skimage.data.camera()[200:264, 150:214], BLACK_LEVEL, WHITE_LEVEL)
    border = scale * weights.sizes.reach
    inside = (slice(border, -border),) * 2
    expected = to_uint8(reference(weights, lr.astype(np.float32) / PEAK) * PEAK)
    with TemporaryDirectory() as folder:
        shader = Path(folder) / "shader.glsl"
        shader.write_bytes(content)
        try:
            error = psnr(run_mpv(shader, lr, scale)[inside], expected[inside])
            comparison = f"{error:.1f} dB from PyTorch, drawn in 8 bits"
        except (OSError, subprocess.CalledProcessError):
            error, comparison = LEAST_PSNR, compared(None, "FFmpeg with libplacebo and a Vulkan device")
    if error < LEAST_PSNR:
        raise FailureError(f"{path}: what is drawn is {error:.1f} dB from PyTorch; nothing is written")
    yield Exported(f"{weights_name(path)}.glsl", content, comparison)
