"""Training patches: cut at random from the prepared pictures, flipped and turned."""

import ctypes
import mmap
import sys
import warnings
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.prepared import Pictures

LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
LARGE = 2**29  # bytes of a file that may not stay in memory from step to step
STEPS_AT_ONCE = 8  # steps whose patches are cut in one gather
ROOM_UNKNOWN = 2**31  # bytes that pictures may take on a device that does not tell how much memory it has


def room_on(device: torch.device) -> int:
    """Bytes that training pictures may take on a device: half of a GPU's free memory."""
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else ROOM_UNKNOWN


class TrainingPatches:
    """Random aligned LR and HR patches of prepared pictures, cut, flipped and turned in one gather.

    A batch is a table of positions in the flat arrays of the pictures. Which patches it holds depends on the seed and
    the step alone, so a resumed run gets the same patches as an uninterrupted one.

    Pictures that fit on a GPU are copied there. All others stay in mapped files, of which the system reads what is
    needed; a thread cuts the patches of the steps that follow meanwhile.
    """

    def __init__(
        self,
        pictures: Pictures,
        patch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        margin: int = 0,
        room: int | None = None,
    ) -> None:
        """pictures: at least (patch_size + 2 * margin) * upscale_factor high and wide. With weights, pictures are drawn
        by these; without, all patches of all pictures are equally likely. Of their JPEG qualities one per step in turn.
        patch_size: side of an HR patch, in LR pixels. margin: LR pixels added on each side of an LR patch; with a
        margin, an HR patch lacks its last upscale_factor - 1 rows and columns, where Caffe's deconvolution has no
        output. room: bytes that the pictures may take on a device that is not the CPU; None: `room_on`.
        """
        self.upscale_factor, self.patch_size, self.seed, self.margin = pictures.upscale_factor, patch_size, seed, margin
        self.device = torch.device(device)
        self._hr, self._lr = as_tensor(pictures.hr), as_tensor(pictures.lr)
        self._ahead: ThreadPoolExecutor | None = None
        if self.device.type != "cpu" and pictures.bytes <= (room_on(self.device) if room is None else room):
            self._hr, self._lr = self._hr.to(self.device), self._lr.to(self.device)
        else:
            self._ahead = ThreadPoolExecutor(1)
        self._qualities = pictures.qualities
        self._hr_start, self._hr_width = torch.from_numpy(pictures.hr_start), torch.from_numpy(pictures.hr_size[:, 1])
        height, width = torch.from_numpy(pictures.hr_size // self.upscale_factor).T
        self._lr_start, self._lr_width, self._lr_pixels = torch.from_numpy(pictures.lr_start), width, height * width
        # A picture has one patch for each position of the patch's top left corner.
        size = patch_size + 2 * margin
        self._columns = width - size + 1
        number = (height - size + 1) * self._columns
        self._patches_up_to = number.cumsum(0)
        self._first_patch = self._patches_up_to - number
        self._chances = None if pictures.weights is None else pictures.weights / pictures.weights.sum()
        self._kept: tuple[tuple[int, ...], tuple[Tensor, Tensor]] | None = None
        self._next: tuple[tuple[int, ...], Future[tuple[Tensor, Tensor]]] | None = None

    def quality(self, step: int) -> int | None:
        """The JPEG quality of a step's LR patches; None: not compressed."""
        return self._qualities[step % len(self._qualities)] if self._qualities else None

    def batch(self, step: int, batch_size: int, rank: int = 0, ranks: int = 1) -> tuple[Tensor, Tensor]:
        """The patches of one step, float32 in [0, 1] on the device: LR batch_size x 1 x patch_size x patch_size, and HR
        upscale_factor times as high and wide; a margin changes both, see `__init__`. Each of several ranks gets its
        share of the same batch.
        """
        group, place = divmod(step, STEPS_AT_ONCE)
        lr, hr = self._group(group, batch_size, rank, ranks)
        return lr[place], hr[place]

    def _group(self, *asked: int) -> tuple[Tensor, Tensor]:
        """`_cut_batches`, kept for the steps that follow."""
        if self._kept and self._kept[0] == asked:
            return self._kept[1]
        fetched = self._next[1].result() if self._next and self._next[0] == asked else self._cut_batches(*asked)
        self._kept = asked, fetched
        if self._ahead:
            following = asked[0] + 1, *asked[1:]
            self._next = following, self._ahead.submit(self._cut_batches, *following)
        return fetched

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
        version = torch.arange(STEPS_AT_ONCE * group, STEPS_AT_ONCE * (group + 1)) % max(len(self._qualities), 1)
        version = version.repeat_interleave(len(image) // STEPS_AT_ONCE)
        size, scale, cut = self.patch_size, self.upscale_factor, bool(self.margin) * (self.upscale_factor - 1)
        lr_place = self._lr_start[image] + version * self._lr_pixels[image], self._lr_width[image]
        hr_place = self._hr_start[image], self._hr_width[image]
        corner = row, column, operation
        read_ahead(self._lr, 1, 0, size + 2 * self.margin, *lr_place, row, column)
        read_ahead(self._hr, scale, self.margin, size, *hr_place, row, column)
        both = (
            gather(self._lr, 1, 0, size + 2 * self.margin, 0, *lr_place, *corner),
            gather(self._hr, scale, self.margin, size, cut, *hr_place, *corner),
        )
        lr, hr = (self._there(patches).float().div_(255).unflatten(0, (STEPS_AT_ONCE, -1)) for patches in both)
        return lr, hr

    def _there(self, patches: Tensor) -> Tensor:
        """The patches on the device."""
        if patches.device.type != "cpu" or self.device.type != "cuda":
            return patches.to(self.device)
        with torch.cuda.device(self.device):  # a new thread's is the first GPU
            return patches.pin_memory().to(self.device, non_blocking=True)  # copied while the GPU computes


def as_tensor(values: NDArray[np.generic]) -> Tensor:
    """The array as a tensor on the same memory, which nobody writes to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(values)


def read_ahead(pixels: Tensor, scale: int, first: int, size: int, *place: Tensor) -> None:
    """Asks the system for the parts of a large mapped file that `gather` then reads: all at once, and no more than
    these. One after the other, as they are touched, takes several times as long. place: see `gather`.
    """
    if pixels.device.type != "cpu" or pixels.nbytes < LARGE or LIBC is None:
        return
    start, width, row, column = (value.numpy() for value in place)
    begin = start + (row + first) * scale * width + (column + first) * scale
    end = begin + (scale * size - 1) * width + scale * size
    address, size_of_one = pixels.data_ptr(), pixels.element_size()
    first_byte = (address + begin * size_of_one) // mmap.PAGESIZE * mmap.PAGESIZE
    for at, length in zip(first_byte.tolist(), (address + end * size_of_one - first_byte).tolist(), strict=True):
        LIBC.madvise(ctypes.c_void_p(at), ctypes.c_size_t(length), mmap.MADV_WILLNEED)


def gather(pixels: Tensor, scale: int, first: int, size: int, cut: int, *place: Tensor) -> Tensor:
    """Gathers patches from pictures that are `scale` times as large as LR: N x 1 x (scale*size - cut) x the same.

    Each is `size` LR pixels wide, begins `first` LR pixels after its place, and is flipped and turned; then it loses
    its last `cut` rows and columns. pixels: all pictures, flat. place: for each patch, where its picture begins in
    `pixels` and how wide it is, the patch's row and column in LR pixels, and the operation of imgproc.dihedral.
    """
    start, width, row, column, operation = (value.to(pixels.device).view(-1, 1) for value in place)
    along, last = torch.arange(scale * size - cut, device=pixels.device), scale * size - 1
    y = torch.where(operation & 1 > 0, last - along, along)
    x = torch.where(operation & 2 > 0, last - along, along)
    down = start + ((row + first) * scale + y) * width
    across = (column + first) * scale + x
    swap = operation & 4 > 0  # as imgproc.dihedral: flips first, then the axes are swapped
    down, across = torch.where(swap, across, down), torch.where(swap, down, across)
    positions = down[:, :, None] + across[:, None]
    # index_select, because on a CPU it is several times faster than indexing.
    return pixels.index_select(0, positions.view(-1)).view(-1, 1, len(along), len(along))
