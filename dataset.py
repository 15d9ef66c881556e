"""Turns image files into training pictures, LR and HR, and evaluation pairs. Patches: training/patches.py."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray

from fsrcnn.errors import RequestError
from fsrcnn.files import is_hidden, written_whole
from fsrcnn.pictures.damage import jpeg_faults
from imgproc import FloatImage, imresize, luma, modcrop, rgb_to_ycbcr, score, to_uint8

Y = NDArray[np.uint8]

IMAGE_SUFFIXES = {".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}

# Every tenth picture of BSDS200 by name, not the paper's 20: those are part of today's BSD100 test set.
VALIDATION_SET = "BSDS200"
VALIDATION_NAMES = frozenset(
    "104022 113016 130034 145014 156079 166081 181079 188063 207056 227040 "
    "239096 25098 274007 309004 35010 370036 42044 56028 66075 90076".split()
)

VALIDATION_QUALITIES = (10, 40, 60, 80, 95)  # JPEG qualities that a training on compressed pictures is judged at
JPEG_TWICE = 0.25  # share of its LR pictures that are compressed twice, on two grids of 8 x 8 blocks

# The set `Samples`: natural photographs inside the scikit-image package, so that a fresh clone can be scored.
SAMPLE_PICTURES: dict[str, Callable[[], NDArray[np.uint8]]] = {
    "astronaut": skimage.data.astronaut,
    "camera": skimage.data.camera,
    "chelsea": skimage.data.chelsea,
    "coffee": skimage.data.coffee,
    "motorcycle": lambda: skimage.data.stereo_motorcycle()[0],
}


def list_images(folder: Path) -> list[Path]:
    """The picture files directly in a folder, by name, but for hidden ones. Raises RequestError if there is no folder
    or no picture.
    """
    if not folder.is_dir():
        raise RequestError(f"{folder}: no such folder")
    paths = (path for path in sorted(folder.iterdir()) if not is_hidden(path.relative_to(folder)))
    found = [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    if not found:
        raise RequestError(f"{folder}: no pictures in this folder (looked for {', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def read_image(path: Path) -> NDArray[np.uint8]:
    """Reads an 8-bit picture: H x W for a single-channel file, otherwise H x W x 3 in R, G, B order; alpha is
    dropped. Raises OSError, naming the file, if it is no readable 8-bit picture, or a damaged JPEG.
    """
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # OpenCV's own warnings name no file
    content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    if faults := jpeg_faults(content.tobytes()):
        raise OSError(f"{path}: damaged ({'; '.join(faults)}); replace or remove it")
    try:
        image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    except cv2.error as error:
        raise OSError(f"{path}: not a readable picture ({error.err}); replace or remove it") from error
    if image is None:
        raise OSError(
            f"{path}: {'not a readable picture' if content.size else 'the file is empty'}; replace or remove it"
        )
    if image.dtype != np.uint8:
        raise OSError(f"{path}: {image.dtype.itemsize * 8} bits a channel, expected 8; convert the picture first")
    if image.ndim == 2:
        return image
    return cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2RGB)


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Writes a picture, uint8, H x W or H x W x 3 in R, G, B order, in the format of the suffix."""
    pixels = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode(path.suffix, pixels)
    with written_whole(path) as unfinished:
        unfinished.write_bytes(content.tobytes())


@dataclass(frozen=True)
class EvaluationPair:
    """A test picture by the paper's protocol: HR cropped to a multiple of the scale, LR reduced from it, unrounded."""

    name: str
    upscale_factor: int
    hr_image: NDArray[np.uint8]  # H x W (x 3)
    hr: Y  # H x W
    lr: FloatImage  # H/scale x W/scale, luma in 0..255
    quality: int | None = None  # JPEG quality that lr was compressed at

    def compressed(self, quality: int) -> "EvaluationPair":
        """The same pair with its LR compressed as JPEG, quality 1..100 (see `compressed_luma`)."""
        lr_image = imresize(self.hr_image, 1 / self.upscale_factor)
        return dataclasses.replace(self, lr=compressed_luma(lr_image, quality), quality=quality)

    def bicubic(self) -> FloatImage:
        """The baseline: H x W, luma in 0..255, unrounded."""
        return imresize(self.lr, self.upscale_factor)

    def score(self, sr: NDArray[np.floating]) -> dict[str, float]:
        """PSNR and SSIM of a recovered luma, H x W in 0..255, unrounded."""
        return score(sr, self.hr, self.upscale_factor)


def evaluation_pair(name: str, image: NDArray[np.uint8], upscale_factor: int) -> EvaluationPair:
    """Makes the pair from an 8-bit picture, H x W or H x W x 3. Raises RequestError for a picture too small to score:
    SSIM needs 11 x 11 pixels after the border is cut.
    """
    smallest = 11 + 3 * upscale_factor
    if min(image.shape[:2]) < smallest:
        height, width = image.shape[:2]
        raise RequestError(
            f"{name}: {width} x {height} pixels, expected at least {smallest} x {smallest} to score x{upscale_factor}"
        )
    hr_image = modcrop(image, upscale_factor)
    hr = luma(hr_image)
    return EvaluationPair(name, upscale_factor, hr_image, hr, imresize(hr, 1 / upscale_factor))


def jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Compresses a picture as JPEG and decodes it: libjpeg's standard tables, quality 1..100, 4:2:0.

    image: uint8, H x W or H x W x 3 in R, G, B order; returns the same.
    """
    pixels = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    return decoded if image.ndim == 2 else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def compressed_luma(lr_image: NDArray[np.number], quality: int) -> FloatImage:
    """The luma of a reduced picture after JPEG: rounded to 8 bits, compressed in colour, luma not rounded.

    lr_image: H x W or H x W x 3 in 0..255; returns H x W in 0..255, float64.
    """
    decoded = jpeg(to_uint8(lr_image), quality).astype(np.float64)
    return decoded if decoded.ndim == 2 else rgb_to_ycbcr(decoded)[..., 0]


def compressed_versions(
    lr_image: NDArray[np.number], qualities: tuple[int, ...], random: np.random.Generator
) -> list[FloatImage]:
    """`compressed_luma` at each of the qualities. A share of JPEG_TWICE, by chance, is compressed once before: at a
    random one of the qualities, on a grid of blocks shifted by a random offset.
    """
    versions = []
    for quality in qualities:
        image, twice = to_uint8(lr_image), random.random() < JPEG_TWICE
        before, (top, left) = int(random.choice(qualities)), random.integers(8, size=2)
        if twice:
            padding = ((top, 0), (left, 0), (0, 0))[: image.ndim]
            image = jpeg(np.pad(image, padding, mode="edge"), before)[top:, left:]
        versions.append(compressed_luma(image, quality))
    return versions


def sample_pairs(upscale_factor: int) -> Iterator[EvaluationPair]:
    """The evaluation pairs of `SAMPLE_PICTURES`."""
    return (evaluation_pair(name, load(), upscale_factor) for name, load in SAMPLE_PICTURES.items())


def folder_pairs(folder: Path, upscale_factor: int) -> Iterator[EvaluationPair]:
    """The evaluation pairs of a folder's pictures, by name, one in memory at a time. A pair's name is its file's stem,
    or the whole file name if two files share the stem.
    """
    paths = list_images(folder)
    stems = Counter(path.stem for path in paths)
    for path in paths:
        yield evaluation_pair(path.stem if stems[path.stem] == 1 else path.name, read_image(path), upscale_factor)


def validation_paths(data_dir: Path, validation_set: str = "") -> list[Path]:
    """The validation pictures: those of the set or folder `validation_set`, or 20 of BSDS200 if it is empty. Raises
    RequestError if one is missing.
    """
    if validation_set:
        return list_images(set_folder(data_dir, validation_set))
    folder = set_folder(data_dir, VALIDATION_SET)
    paths = [folder / f"{name}.png" for name in sorted(VALIDATION_NAMES)]
    if missing := [path for path in paths if not path.is_file()]:
        raise RequestError(f"{missing[0]}: validation picture missing; `python prepare_dataset.py` brings it")
    return paths


def set_folder(data_dir: Path, name: str) -> Path:
    """The folder of a set: data_dir/name, or the path `name` itself. Raises RequestError if neither exists."""
    for folder in (data_dir / name, Path(name)):
        if folder.is_dir():
            return folder
    raise RequestError(f"{name}: no such folder, nor in {data_dir}; `python prepare_dataset.py` brings the public sets")


def validation_pairs(data_dir: Path, upscale_factor: int, validation_set: str = "") -> list[EvaluationPair]:
    """The evaluation pairs of `validation_paths`."""
    paths = validation_paths(data_dir, validation_set)
    return [evaluation_pair(path.stem, read_image(path), upscale_factor) for path in paths]


def training_paths(data_dir: Path, names: Iterable[str], validation: Iterable[Path] = ()) -> list[Path]:
    """The picture files of the training sets, without the validation pictures given, and always without the 20 of
    BSDS200.
    """
    left_out = {path.resolve() for path in validation}

    def is_left_out(path: Path) -> bool:
        of_bsds = path.parent.name == VALIDATION_SET and path.stem in VALIDATION_NAMES
        return of_bsds or path.resolve() in left_out

    paths = [path for name in names for path in list_images(set_folder(data_dir, name))]
    return [path for path in paths if not is_left_out(path)]


def reduced_size(height: int, width: int, reductions: tuple[float, ...]) -> list[tuple[int, int]]:
    """The height and width of a picture and of its reductions."""
    return [(height, width), *((math.ceil(height * by), math.ceil(width * by)) for by in reductions)]


def with_reductions(image: NDArray[np.uint8], reductions: tuple[float, ...]) -> list[NDArray[np.uint8]]:
    """The picture and, the paper's augmentation by scale (section 4.1), its bicubic reductions, in 8 bits. Turns and
    flips come when patches are drawn.

    image: uint8, H x W or H x W x 3. reductions: factors between 0 and 1.
    """
    return [image, *(to_uint8(imresize(image, by)) for by in reductions)]


def psnr_weight(lr: FloatImage, hr: Y) -> float:
    """How often to draw a picture, relative to the others, so that training aims at the mean of the pictures' PSNRs.

    lr: H x W, hr: scale*H x scale*W, luma in 0..255; returns more than 0, up to 10 ** -0.5.

    The derivative of a PSNR is proportional to 1 / MSE. The weight is 1 / sqrt(MSE), halfway to drawing all pictures
    equally often, which scored better on the validation pictures (docs/recipe.md). The MSE is that of bicubic
    enlargement, in place of the network's, plus 10 (38 dB), so that nearly flat pictures do not dominate.
    """
    return (10 + float(np.mean((imresize(lr, hr.shape[0] / lr.shape[0]) - hr) ** 2))) ** -0.5
