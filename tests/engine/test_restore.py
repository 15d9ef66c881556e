"""Compressed pictures are restored by their quality: the strengths, the blended networks, and who asks for what."""

import math
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import skimage.data
from made import load, make_clip, network, noise, save

import fsrcnn
from dataset import write_image
from fsrcnn import cli
from fsrcnn.errors import RequestError
from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.network import TorchNetwork, load_network, network_of
from fsrcnn.pictures.pixels import Layout
from fsrcnn.pictures.restoration import Restoration, summary, without_alpha
from fsrcnn.pictures.strips import enlarged_strips
from fsrcnn.restore import checked_restore, nearest_step, parsed_restore, restoring_path, strength_at
from fsrcnn.videos.frames import sample_planes
from fsrcnn.videos.quantiser import film_strength
from fsrcnn.weights import Weights, load_weights, save_weights, shipped_weights
from imgproc import imresize, luma, psnr, rgb_to_ycbcr, to_uint8


def reduced_photograph() -> np.ndarray:
    return to_uint8(imresize(skimage.data.astronaut(), 1 / 2))


def write_jpeg(path: Path, picture: np.ndarray, quality: int) -> Path:
    pixels = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    path.write_bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())
    return path


def first_luma(path: Path) -> np.ndarray:
    with av.open(str(path)) as video:
        return sample_planes(next(video.decode(video=0)))[0].copy()


def test_strengths_by_hand():
    by_hand = {None: 0, 100: 0, 95: 0.15, 90: 0.25, 85: 0.4, 80: 0.5, 60: 0.75, 40: 0.9, 20: 1, 3: 1, 120: 0}
    assert {quality: strength_at(quality) for quality in by_hand} == by_hand
    assert [nearest_step(strength) for strength in (0, 0.024, 0.026, 0.5, 0.99, 1)] == [0, 0, 0.05, 0.5, 1, 1]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -0.1, 1.1, True, None, "0.5", "AUTO", [0.5], 1j, "a\nb" * 99])
def test_what_is_no_strength_is_an_error_of_one_line(wrong: object):
    with pytest.raises(fsrcnn.Error, match=r"^restore: got .*, expected auto or a number from 0 to 1$") as error:
        fsrcnn.enlarge(noise(4, 5), restore=wrong)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 100


def test_command_lines_strengths():
    assert [parsed_restore(text) for text in ("auto", "0", "1", ".25")] == ["auto", 0, 1, 0.25]
    assert checked_restore(np.float32(0.5)) == 0.5
    for wrong in ("0.5x", "nan", "inf", "-1", "2", "", "Auto", "1e999"):
        with pytest.raises(RequestError, match="restore: got"):
            parsed_restore(wrong)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_restored_networks_have_blended_weights(variant: str, scale: int, monkeypatch: pytest.MonkeyPatch):
    path, lr = shipped_weights(variant, scale), luma(reduced_photograph())[100:130, 90:125].astype(np.float32) / 255
    weights, restoring = load_weights(path), load_weights(restoring_path(path))
    between = Weights(
        weights.sizes,
        {name: 0.7 * value + 0.3 * restoring.parameters[name] for name, value in weights.parameters.items()},
    )
    expected = network_of(between, "cpu")(lr)
    loaded = network(variant, scale)
    assert np.abs(expected - loaded(lr)).max() > 1e-3
    np.testing.assert_allclose(loaded.restored(0.3)(lr), expected, atol=1e-5)
    assert loaded.restored(0) is loaded
    assert loaded.restored(0.29) is loaded.restored(0.3)
    assert loaded.restored(0.3).pool is loaded.pool
    assert loaded.restored(0.3).stopped is loaded.stopped
    monkeypatch.setattr("fsrcnn.native.HOST", None)  # as on a GPU
    by_pytorch = network_of(weights, "cpu", restoring=restoring).restored(0.3)
    assert isinstance(by_pytorch, TorchNetwork)
    np.testing.assert_allclose(by_pytorch(lr), expected, atol=1e-5)


def test_a_network_has_few_forms():
    loaded = load_network(shipped_weights("fsrcnn_s", 2), 2, "cpu")
    forms = {id(loaded.restored(float(strength))) for strength in np.linspace(0, 1, 300)}
    assert len(forms) == 21


def test_restoring_weights_lie_beside(tmp_path: Path):
    weights = load_weights(shipped_weights("fsrcnn_s", 2))
    save_weights(weights, tmp_path / "mine.safetensors")
    picture = noise(9, 8, 3)
    alone = fsrcnn.enlarge(picture, weights=tmp_path / "mine.safetensors", device="cpu")
    np.testing.assert_array_equal(alone, fsrcnn.enlarge(picture, variant="fsrcnn_s", restore=0, device="cpu"))
    with pytest.raises(fsrcnn.Error, match=r"restore: 0\.5 needs restoring weights"):
        fsrcnn.enlarge(picture, weights=tmp_path / "mine.safetensors", restore=0.5, device="cpu")
    save_weights(load_weights(restoring_path(shipped_weights("fsrcnn_s", 2))), tmp_path / "mine_restore.safetensors")
    beside = load_network(tmp_path / "mine.safetensors", device="cpu")
    lr = np.random.default_rng(0).random((9, 8), np.float32)
    np.testing.assert_array_equal(beside.restored(0.5)(lr), network("fsrcnn_s", 2).restored(0.5)(lr))
    save_weights(load_weights(shipped_weights("fsrcnn", 2)), tmp_path / "mine_restore.safetensors")
    with pytest.raises(RequestError, match=r"mine_restore\.safetensors: is of"):
        load_network(tmp_path / "mine.safetensors", device="cpu")


def test_a_jpeg_is_restored_by_its_quality_and_a_clean_picture_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    lr, folder = reduced_photograph(), tmp_path / "lr"
    folder.mkdir()
    sources = {f"{quality}": write_jpeg(folder / f"{quality}.jpg", lr, quality) for quality in (40, 90)}
    write_image(folder / "clean.png", lr)
    save(folder / "deep.png", lr.astype(np.uint16) * 257)
    flags = ["--output", tmp_path / "sr", "--format", "png", "--variant", "fsrcnn_s", "--device", "cpu"]
    monkeypatch.setattr("sys.argv", ["upscale.py", str(folder), *map(str, flags)])
    assert cli.upscale() == 0
    assert "; restored: 2 of 4, by 0.25 to 0.90" in capsys.readouterr().out.splitlines()[-1]
    for name, strength in (("40", 0.9), ("90", 0.25), ("clean", 0), ("deep", 0)):
        source = sources.get(name, folder / f"{name}.png")
        fsrcnn.enlarge_file(source, tmp_path / "one.png", variant="fsrcnn_s", restore=strength, device="cpu")
        np.testing.assert_array_equal(load(tmp_path / "sr" / f"{name}_x2.png"), load(tmp_path / "one.png"))
    hr = luma(skimage.data.astronaut())
    fsrcnn.enlarge_file(sources["40"], tmp_path / "plain.png", variant="fsrcnn_s", restore=0, device="cpu")
    plain, restored = (
        psnr(rgb_to_ycbcr(load(path).astype(float))[..., 0], hr)
        for path in (tmp_path / "plain.png", tmp_path / "sr" / "40_x2.png")
    )
    assert restored > plain + 1


def test_a_videos_strength_is_given_or_by_its_quantiser(tmp_path: Path):
    source = make_clip(tmp_path / "a.mkv", codec="libx264")
    estimated = nearest_step(film_strength(source))
    assert estimated > 0
    results = [tmp_path / f"{restore}.mkv" for restore in ("auto", 0, estimated)]
    for target, restore in zip(results, ("auto", 0, estimated), strict=True):
        fsrcnn.enlarge_file(source, target, variant="fsrcnn_s", restore=restore, device="cpu")
    by_auto, plain, restored = (first_luma(path) for path in results)
    np.testing.assert_array_equal(by_auto, restored)
    assert (restored != plain).any()


def test_what_failed_is_not_said_and_steps_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    write_jpeg(Path("a.jpg"), np.tile(reduced_photograph(), (6, 1, 1)), 60)
    write_image(Path("cut.png"), np.tile(reduced_photograph(), (6, 1, 1)))
    whole = Path("cut.png").read_bytes()
    Path("cut.png").write_bytes(whole[: len(whole) * 9 // 10])
    flags = ["--variant", "fsrcnn_s", "--device", "cpu", "--output", "sr", "--restore", "0.33"]
    monkeypatch.setattr("sys.argv", ["upscale.py", "a.jpg", "cut.png", *flags])
    with pytest.raises(fsrcnn.Error, match="1 of 2 failed"):
        cli.upscale()
    assert "; restored: 1 of 1, by 0.35" in capsys.readouterr().out


def test_what_is_said():
    assert summary([]) == summary([0, 0]) == ""
    assert summary([0, 0.25, 0.85]) == "restored: 2 of 3, by 0.25 to 0.85"
    assert summary([0.3]) == "restored: 1 of 1, by 0.30"


def test_the_top_is_read_once_and_enlarged_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fsrcnn.pictures.strips.ROWS", 8)
    monkeypatch.setattr("fsrcnn.pictures.strips.SEEN_ROWS", 20)
    picture, seen, read = noise(61, 9, 2), [], []
    picture[30:, :, 1] = 0

    def windows(rows):
        for span in rows:
            read.append(span)
            yield picture[span.window]

    def strength(top):
        seen.append(top())
        return 0.5

    layout = Layout(61, 9, 2, 8, has_alpha=True)
    strips = enlarged_strips(layout, windows, network("fsrcnn_s", 2), strength)
    np.testing.assert_array_equal(
        np.concatenate(list(strips)),
        np.concatenate(list(enlarged_strips(layout, windows, network("fsrcnn_s", 2).restored(0.5)))),
    )
    np.testing.assert_array_equal(*seen, picture[:20])
    assert len(read) == 2 * len(set(read))


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_pixels_that_are_looked_at(bands: int):
    picture = noise(5, 6, bands)
    colours = picture[..., :3] if bands > 2 else picture[..., 0]
    seen = without_alpha(picture, Layout(5, 6, bands, 8, has_alpha=bands in (2, 4)))
    np.testing.assert_array_equal(seen, colours)
    if bands == 4:
        inks = without_alpha(picture, Layout(5, 6, 4, 8, has_alpha=False))
        np.testing.assert_array_equal(inks, 255 - colours)


def test_arguments_are_checked_before_anything_is_read(tmp_path: Path):
    with pytest.raises(fsrcnn.Error, match="restore: got 2"):
        fsrcnn.enlarge_file(tmp_path / "none.png", tmp_path / "a.png", restore=2)
    with pytest.raises(RequestError):
        Restoration(0.5, network_of(load_weights(shipped_weights("fsrcnn_s", 2)), "cpu"))
