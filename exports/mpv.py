"""A GLSL user shader for mpv (`--glsl-shader=`) and every other player that draws with libplacebo."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model import FSRCNN
from native.packing import phases

_HEADER = """\
// {title}, made from its weights by export.py. Licence: Apache-2.0.
// Works on luma as videos hold it, 16..235 of 255; runs where the picture is enlarged. Beyond the border textures
// repeat their edge, where the network has zeros: the outermost pixels differ from the network's.
"""
# Runs when the picture is enlarged in both directions.
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


def _vector(values: Tensor) -> str:
    return f"vec4({', '.join(f'{value:.6g}' for value in values.tolist())})"


def _matrix(values: Tensor) -> str:
    """values: 4 outputs x 4 inputs; GLSL writes a matrix column by column."""
    return f"mat4({', '.join(f'{value:.6g}' for value in values.T.flatten().tolist())})"


def _by_fours(values: Tensor, *axes: int) -> Tensor:
    """Zeros appended along the axes to make them multiples of four."""
    for axis in axes:
        shape = list(values.shape)
        shape[axis] = -shape[axis] % 4
        values = torch.cat([values, values.new_zeros(shape)], axis)
    return values


def _prelu(name: str, slopes: Tensor) -> str:
    return f"{name} = max({name}, 0.0) + {_vector(slopes)} * min({name}, 0.0);"


class _Shader:
    """The text of the passes, each of which writes one texture of four channels."""

    def __init__(self, title: str) -> None:
        self.title, self.text = title, _HEADER.format(title=title)

    def add(self, name: str, sources: list[str], lines: list[str], *, scale: int = 1, last: bool = False) -> str:
        binds = "\n".join(f"//!BIND {source}" for source in sources)
        body = "\n".join(f"    {line}" for line in lines)
        said = {"title": self.title, "name": name.lower(), "binds": binds, "body": body, "scale": scale}
        self.text += _PASS.format(**said, save="" if last else f"//!SAVE {name}\n", components=1 if last else 4)
        return name

    def add_convolution(
        self, name: str, sources: list[str], weight: Tensor, bias: Tensor, slopes: Tensor | None
    ) -> list[str]:
        """Four outputs a pass. weight: outputs x channels x k x k, the channels in the sources' order, by fours."""
        weight, bias = _by_fours(weight, 0, 1), _by_fours(bias, 0)
        reach, textures = weight.shape[2] // 2, []
        for first in range(0, len(weight), 4):
            lines = [f"vec4 sum = {_vector(bias[first : first + 4])};"]
            for i, source in enumerate(sources):
                for row, column in weight[first : first + 4, 4 * i : 4 * i + 4].abs().sum((0, 1)).nonzero().tolist():
                    matrix = _matrix(weight[first : first + 4, 4 * i : 4 * i + 4, row, column])
                    at = f"vec2({column - reach}.0, {row - reach}.0)"
                    lines.append(f"sum += {matrix} * {source}_texOff({at});")
            lines += [] if slopes is None else [_prelu("sum", _by_fours(slopes, 0)[first : first + 4])]
            textures.append(self.add(f"{name}{first // 4}", sources, [*lines, "return sum;"]))
        return textures


def _features_and_shrink(features: nn.Sequential, shrink: nn.Sequential, first: int) -> Iterator[str]:
    """Four outputs of the second layer; the features, more than a texture holds, are computed anew for each four."""
    (conv, prelu), (conv_1x1, prelu_1x1) = features, shrink
    weight = _by_fours(conv_1x1.weight[:, :, 0, 0], 0)[first : first + 4]
    for row in range(5):
        for column in range(5):
            yield f"float p{row}{column} = LUMA_texOff(vec2({column - 2}.0, {row - 2}.0)).x;"
    yield f"vec4 f, sum = {_vector(_by_fours(conv_1x1.bias, 0)[first : first + 4])};"
    for d in range(0, len(conv.weight), 4):
        yield f"f = {_vector(conv.bias[d : d + 4])};"
        for row in range(5):
            for column in range(5):
                yield f"f += {_vector(conv.weight[d : d + 4, 0, row, column])} * p{row}{column};"
        yield _prelu("f", prelu.weight[d : d + 4])
        yield f"sum += {_matrix(weight[:, d : d + 4])} * f;"
    yield _prelu("sum", _by_fours(prelu_1x1.weight, 0)[first : first + 4])
    yield "return sum;"


def _shuffle(textures: list[str], scale: int) -> list[str]:
    """Each pixel of the large picture from its place in the textures, whose channels are the phases row by row."""
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


@torch.no_grad()
def mpv_file(model: FSRCNN, title: str) -> str:
    """The network as a user shader on the luma plane, for enlarging; title: what a player shows for it."""
    shader, sources = _Shader(title), []
    for first in range(0, model.model_args["s"], 4):
        lines = list(_features_and_shrink(model.feature_extraction, model.shrink, first))
        sources.append(shader.add(f"SHRINK{first // 4}", ["LUMA"], lines))
    for number, (conv, prelu) in enumerate(zip(model.map[::2], model.map[1::2], strict=True)):
        sources = shader.add_convolution(f"MAP{number}_", sources, conv.weight, conv.bias, prelu.weight)
    conv, prelu = model.expand
    sources = shader.add_convolution("EXPAND", sources, conv.weight, conv.bias, prelu.weight)
    kernel = phases(model.deconv.weight, model.upscale_factor)
    sources = shader.add_convolution("PHASES", sources, kernel, model.deconv.bias.expand(len(kernel)), None)
    shader.add("SHUFFLE", sources, _shuffle(sources, model.upscale_factor), scale=model.upscale_factor, last=True)
    return shader.text


def run_mpv(shader: Path, luma: NDArray[np.uint8], scale: int, enlarged: int | None = None) -> NDArray[np.uint8]:
    """What FFmpeg's libplacebo filter draws of H x W limited-range luma, rounded, with a shader for a scale.

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
