"""The shaders as libplacebo, the renderer of mpv, draws them in FFmpeg."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
import skimage.data
from made import HEIGHT, WIDTH, make_clip, needed, random_network

from exports.mpv import mpv_file, run_mpv
from exports.shared import reference
from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.weights import load_weights, shipped_weights
from imgproc import psnr, to_uint8

EXPORTED = Path(__file__).parents[2] / "results" / "exported"
LUMA = np.clip(skimage.data.camera()[100:165, 150:231], 16, 235)


def program_needed() -> None:
    drivers = list(Path("/usr/share/vulkan/icd.d").glob("lvp_icd.*"))
    needed(bool(shutil.which("ffmpeg") and drivers), "ffmpeg or Mesa's llvmpipe (packages ffmpeg, mesa-vulkan-drivers)")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_committed_shader_draws_the_shipped_networks_luma(variant: str, scale: int):
    program_needed()
    weights = load_weights(shipped_weights(variant, scale))
    shader = EXPORTED / f"{variant}_x{scale}.glsl"
    assert shader.read_text(encoding="utf-8") == mpv_file(weights, f"{variant}_x{scale}")
    expected = to_uint8(reference(weights, LUMA / np.float32(255)) * 255)
    border = scale * weights.sizes.reach
    inside = (slice(border, -border),) * 2
    drawn = run_mpv(shader, LUMA, scale)
    assert psnr(drawn[inside], expected[inside]) > 50


def test_a_picture_that_is_not_enlarged_stays(tmp_path: Path):
    program_needed()
    shader = tmp_path / "shader.glsl"
    shader.write_text(mpv_file(random_network(2, "fsrcnn_s").weights(), "noise"))
    assert np.abs(run_mpv(shader, LUMA, 2).astype(int)[::2, ::2] - LUMA).max() > 20
    assert np.abs(run_mpv(shader, LUMA, 2, enlarged=1).astype(int) - LUMA).max() <= 1


def test_the_documents_command_encodes_a_film(tmp_path: Path):
    program_needed()
    pages = (EXPORTED.parents[1] / "docs" / "programs.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^ffmpeg -init_hw_device .*$", pages, re.M)
    film = make_clip(tmp_path / "film.mkv", tone=True)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "exported").symlink_to(EXPORTED)
    done = subprocess.run(shlex.split(line), cwd=tmp_path, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    with av.open(str(tmp_path / "large.mkv")) as large, av.open(str(film)) as small:
        frames = [frame.to_ndarray()[: frame.height] for frame in large.decode(video=0)]
        lr = next(small.decode(video=0)).to_ndarray()[:HEIGHT]
        assert [stream.type for stream in large.streams] == ["video", "audio"]
    assert {frame.shape for frame in frames} == {(2 * HEIGHT, 2 * WIDTH)}
    weights = load_weights(shipped_weights("fsrcnn_s", 2))
    expected = to_uint8(reference(weights, lr / np.float32(255)) * 255)
    inside = (slice(12, -12),) * 2
    assert psnr(frames[0][inside], expected[inside]) > 30  # x264 at CRF 18
