"""BMP files, which libvips' wheels leave out: Pillow reads them, and writes those without alpha."""

import struct
from pathlib import Path

import numpy as np
from PIL.BmpImagePlugin import BmpImageFile

from fsrcnn.errors import FailureError
from fsrcnn.pictures.memory import check_memory
from fsrcnn.pictures.pixels import Pixels
from fsrcnn.pictures.strips import LARGEST

DECODED = 12  # bytes that a pixel needs: in Pillow, its copy in the mode wanted, and the array
V5_HEADER, BITFIELDS = 124, 3
FILE_HEADER = 14
MASKS = (0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000)  # of red, green, blue and alpha in 32 bits


def read_bmp(path: Path, memory_limit: int) -> Pixels:
    """The pixels of a BMP file, h x w x 1, 3 or 4, uint8. Alpha that is zero everywhere is left out: such files
    are opaque.

    Raises FailureError where it has too many pixels, and whatever Pillow raises of a file that it cannot read.
    """
    # Not Image.open, whose limit of pixels is one for the whole process.
    with BmpImageFile(path) as image:
        if image.width * image.height > LARGEST:
            size = f"{image.width} x {image.height} pixels"
            raise FailureError(f"{path}: {size} is more than is read ({LARGEST:,} in all); cut it")
        check_memory(path, DECODED * image.width * image.height, memory_limit)
        alpha = "A" in image.getbands() and image.getextrema()[-1] != (0, 0)
        mode = "RGBA" if alpha else "L" if image.mode in ("1", "L") else "RGB"
        pixels = np.asarray(image if image.mode == mode else image.convert(mode))
        return pixels.reshape(image.height, image.width, -1)


def write_bmp_with_alpha(path: Path, pixels: Pixels) -> None:
    """Writes h x w x 4 samples, uint8, R, G, B and alpha, as a BMP file of 32 bits with a BITMAPV5HEADER, the only
    header that every reader knows to have alpha.
    """
    height, width, _ = pixels.shape
    start, size = FILE_HEADER + V5_HEADER, 4 * height * width
    with path.open("wb") as file:
        file.write(struct.pack("<2sIHHI", b"BM", start + size, 0, 0, start))
        file.write(struct.pack("<IiiHHIIiiII", V5_HEADER, width, height, 1, 32, BITFIELDS, size, 0, 0, 0, 0))
        file.write(struct.pack("<4I4s", *MASKS, b"BGRs"))  # the colour space is sRGB
        file.write(bytes(V5_HEADER - 60))
        for row in pixels[::-1]:
            file.write(np.ascontiguousarray(row[:, [2, 1, 0, 3]]).data)
