"""Turns image files into training patches and evaluation pairs."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

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

STEPS_AT_ONCE = 8  # steps whose patches are cut in one gather

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


def load_training_images(
    paths: list[Path], smallest: int, colour: bool = False
) -> tuple[list[NDArray[np.uint8]], list[Path]]:
    """The luma of each picture, or the picture in colour, and, the paper's augmentation (section 4.1), its bicubic
    reductions by 0.9, 0.8, 0.7 and 0.6, as far as they are `smallest` pixels high and wide; and the pictures that are
    not so themselves. Turns and flips come when patches are drawn.

    Returns the images, and the paths of the pictures that are too small themselves. Raises RequestError if every
    picture is too small.
    """

    def load(path: Path) -> list[NDArray[np.uint8]]:
        image = read_image(path) if colour else luma(read_image(path))
        versions = (to_uint8(imresize(image, scale)) if scale < 1 else image for scale in (1.0, 0.9, 0.8, 0.7, 0.6))
        return [version for version in versions if min(version.shape[:2]) >= smallest]

    with ThreadPoolExecutor() as pool:
        loading = tqdm(pool.map(load, paths), "reading pictures", len(paths), unit="picture", leave=False, disable=None)
        loaded = dict(zip(paths, loading, strict=True))
    images = [version for versions in loaded.values() for version in versions]
    if not images:
        raise RequestError(f"train_sets: no picture is {smallest} x {smallest}, the size of a patch; lower patch_size")
    return images, [path for path, versions in loaded.items() if not versions]


def psnr_weight(lr: FloatImage, hr: Y) -> float:
    """How often to draw a picture, relative to the others, so that training aims at the mean of the pictures' PSNRs.

    lr: H x W, hr: scale*H x scale*W, luma in 0..255; returns more than 0, up to 10 ** -0.5.

    The derivative of a PSNR is proportional to 1 / MSE. The weight is 1 / sqrt(MSE), halfway to drawing all pictures
    equally often, which scored better on the validation pictures (docs/recipe.md). The MSE is that of bicubic
    enlargement, in place of the network's, plus 10 (38 dB), so that nearly flat pictures do not dominate.
    """
    return (10 + float(np.mean((imresize(lr, hr.shape[0] / lr.shape[0]) - hr) ** 2))) ** -0.5


class TrainingPatches:
    """Random aligned LR and HR patches of a list of pictures, cut, flipped and turned in one gather.

    All pictures lie end to end in one flat LR and one flat HR array, on the training device; a batch is a table of
    positions in them. Which patches a batch holds depends on the seed and the step alone, so a resumed run gets the
    same patches as an uninterrupted one. With jpeg_qualities the LR array holds all pictures once per quality.
    """

    def __init__(
        self,
        images: list[NDArray[np.uint8]],
        upscale_factor: int,
        patch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        margin: int = 0,
        sampling: Literal["uniform", "psnr"] = "uniform",
        jpeg_qualities: tuple[int, ...] = (),
    ) -> None:
        """images: uint8, H x W or, for jpeg_qualities, H x W x 3, at least (patch_size + 2 * margin) * upscale_factor
        high and wide.
        patch_size: side of an HR patch, in LR pixels. margin: LR pixels added on each side of an LR patch; with a
        margin, an HR patch lacks its last upscale_factor - 1 rows and columns, where Caffe's deconvolution has no
        output. sampling: uniform: all patches of all pictures are equally likely; psnr: pictures by `psnr_weight`.
        jpeg_qualities: JPEG qualities of the LR pictures, one per step in turn; none: no compression.
        """

        def reduce(index: int) -> list[NDArray[np.float32]]:
            """The LR luma of a picture, or one for each quality."""
            lr_image = imresize(modcrop(images[index], upscale_factor), 1 / upscale_factor)
            if not jpeg_qualities:
                return [lr_image.astype(np.float32)]
            versions = compressed_versions(lr_image, jpeg_qualities, np.random.default_rng((seed, index, 0)))
            return [version.astype(np.float32) for version in versions]

        hr = [modcrop(luma(image), upscale_factor) for image in images]
        with ThreadPoolExecutor() as pool:
            reduced = pool.map(reduce, range(len(hr)))
            versions = list(tqdm(reduced, "reducing pictures", len(hr), unit="picture", leave=False, disable=None))
            lr = [of_picture[len(of_picture) // 2] for of_picture in versions]
            weights = np.array(list(pool.map(psnr_weight, lr, hr))) if sampling == "psnr" else None
        self.upscale_factor, self.patch_size, self.seed, self.margin = upscale_factor, patch_size, seed, margin
        self.device = torch.device(device)
        self._hr = torch.from_numpy(np.concatenate([image.ravel() for image in hr])).to(device)
        by_quality = (image.ravel() for version in zip(*versions, strict=True) for image in version)
        self._lr = torch.from_numpy(np.concatenate(list(by_quality))).to(device)
        self._qualities = jpeg_qualities
        height, width = torch.tensor([image.shape for image in lr]).T
        self._width = width
        self._start = (height * width).cumsum(0) - height * width
        self._pixels = int((height * width).sum())  # LR pixels per quality
        # A picture has one patch for each position of the patch's top left corner.
        size = patch_size + 2 * margin
        self._columns = width - size + 1
        number = (height - size + 1) * self._columns
        self._patches_up_to = number.cumsum(0)
        self._first_patch = self._patches_up_to - number
        self._chances = None if weights is None else weights / weights.sum()
        self._kept_batches = lru_cache(maxsize=1)(self._cut_batches)  # for the steps that follow

    def quality(self, step: int) -> int | None:
        """The JPEG quality of a step's LR patches; None: not compressed."""
        return self._qualities[step % len(self._qualities)] if self._qualities else None

    def batch(self, step: int, batch_size: int, rank: int = 0, ranks: int = 1) -> tuple[Tensor, Tensor]:
        """The patches of one step, float32 in [0, 1] on the device: LR batch_size x 1 x patch_size x patch_size, and HR
        upscale_factor times as high and wide; a margin changes both, see `__init__`. Each of several ranks gets its
        share of the same batch.
        """
        group, place = divmod(step, STEPS_AT_ONCE)
        lr, hr = self._kept_batches(group, batch_size, rank, ranks)
        return lr[place], hr[place]

    def _cut_batches(self, group: int, batch_size: int, rank: int, ranks: int) -> tuple[Tensor, Tensor]:
        """The batches of a group of STEPS_AT_ONCE steps, stacked, each as from `batch`: they cost little more than one.
        group: the group's number.
        """
        random = np.random.default_rng((self.seed, group))
        numbers = random.integers((int(self._patches_up_to[-1]), 8), size=(STEPS_AT_ONCE, batch_size, 2))
        if self._chances is not None:
            drawn = random.choice(len(self._chances), p=self._chances, size=numbers.shape[:2])
            numbers[..., 0] = random.integers(self._first_patch.numpy()[drawn], self._patches_up_to.numpy()[drawn])
        patch, operation = torch.from_numpy(numbers)[:, rank::ranks].flatten(0, 1).T.contiguous()
        image = torch.searchsorted(self._patches_up_to, patch, right=True)
        place_in_image = patch - self._first_patch[image]
        row, column = place_in_image // self._columns[image], place_in_image % self._columns[image]
        start = self._start[image]
        version = torch.arange(STEPS_AT_ONCE * group, STEPS_AT_ONCE * (group + 1)) % max(len(self._qualities), 1)
        lr_start = start + self._pixels * version.repeat_interleave(len(start) // STEPS_AT_ONCE)
        place = [value.to(self.device) for value in (self._width[image], row, column, operation)]
        size, scale, cut = self.patch_size, self.upscale_factor, bool(self.margin) * (self.upscale_factor - 1)
        whole, middle = (0, size + 2 * self.margin, 0), (self.margin, size, cut)
        both = (
            self._gather(self._lr, 1, *whole, lr_start.to(self.device), *place),
            self._gather(self._hr, scale, *middle, start.to(self.device), *place),
        )
        lr, hr = (patches.div_(255).unflatten(0, (STEPS_AT_ONCE, -1)) for patches in both)
        return lr, hr

    def _gather(self, pixels: Tensor, scale: int, first: int, size: int, cut: int, *place: Tensor) -> Tensor:
        """Gathers patches from the pictures enlarged by `scale`: N x 1 x (scale*size - cut) x (scale*size - cut).

        Each is `size` LR pixels wide, begins `first` LR pixels after its place, and is flipped and turned; then it
        loses its last `cut` rows and columns. place: see `_cut_batches`.
        """
        start, width, row, column, operation = (value.view(-1, 1) for value in place)
        along, last = torch.arange(scale * size - cut, device=self.device), scale * size - 1
        y = torch.where(operation & 1 > 0, last - along, along)
        x = torch.where(operation & 2 > 0, last - along, along)
        down = start * scale**2 + ((row + first) * scale + y) * (width * scale)
        across = (column + first) * scale + x
        swap = operation & 4 > 0  # as imgproc.dihedral: flips first, then the axes are swapped
        down, across = torch.where(swap, across, down), torch.where(swap, down, across)
        positions = down[:, :, None] + across[:, None]
        # index_select, because on a CPU it is several times faster than indexing.
        return pixels.index_select(0, positions.view(-1)).view(-1, 1, len(along), len(along)).float()
