"""How strongly each picture or video is restored: as asked for, or by the quality that it seems to have."""

from collections.abc import Callable
from pathlib import Path

from fsrcnn.errors import FailureError
from fsrcnn.network import Network
from fsrcnn.pictures.headers import file_quality
from fsrcnn.pictures.pixels import Layout, Pixels
from fsrcnn.pictures.quality import pixel_quality
from fsrcnn.restore import AUTO, Restore, nearest_step, strength_at

SEEN_COLUMNS = 2048  # of the picture's pixels, from the left, are looked at

Top = Callable[[], Pixels]  # reads the first rows of a picture, as many as `strips.SEEN_ROWS`


class Restoration:
    """Chooses the strength for each picture and keeps what was chosen, by files. Several threads may share one.

    asked: a strength, or "auto". Raises RequestError for a strength above 0 that the network has no weights for.
    """

    def __init__(self, asked: Restore, network: Network) -> None:
        self._asked = asked if asked == AUTO else nearest_step(asked)
        self.chosen: dict[Path | None, float] = {}
        if asked != AUTO:
            network.restored(asked)
        elif not network.can_restore:
            self._asked = 0.0

    def of_picture(self, path: Path | None, layout: Layout, top: Top) -> float:
        """The strength for a picture. path: its file; None: it is an array."""
        return self._kept(path, strength_of(path, layout, top) if self._asked == AUTO else self._asked)

    def of_video(self, path: Path, told: Callable[[Path], float]) -> float:
        """The strength for a whole video. told: returns the one that it seems to need."""
        return self._kept(path, nearest_step(told(path)) if self._asked == AUTO else self._asked)

    def _kept(self, path: Path | None, strength: float) -> float:
        self.chosen[path] = strength
        return strength


def summary(chosen: list[float]) -> str:
    """A line that says how strongly files were restored, empty if none was."""
    restored = [strength for strength in chosen if strength]
    if not restored:
        return ""
    least, most = (f"{bound(restored):.2f}" for bound in (min, max))
    return f"restored: {len(restored)} of {len(chosen)}, by {least if least == most else f'{least} to {most}'}"


def strength_of(path: Path | None, layout: Layout, top: Top) -> float:
    """The strength for a picture by the lower of two qualities, what its file says and what its pixels show; 0 where
    neither tells, and for 16 bits, which no lossy file has.
    """
    if layout.bits > 8:
        return 0.0
    qualities = []
    if path:
        try:
            qualities.append(file_quality(path))
        except OSError as error:
            raise FailureError(f"{path}: cannot be read ({error.strerror})") from error
    qualities.append(pixel_quality(without_alpha(top()[:, :SEEN_COLUMNS], layout)))
    return strength_at(min((quality for quality in qualities if quality is not None), default=None))


def without_alpha(pixels: Pixels, layout: Layout) -> Pixels:
    """The grey, h x w, or the colour, h x w x 3, of 8-bit pixels, h x w x bands. CMYK has that of its inverted inks."""
    colours = pixels[..., : layout.bands - layout.has_alpha]
    if colours.shape[2] == 4:
        return layout.dtype(layout.peak) - colours[..., :3]
    return colours if colours.shape[2] == 3 else colours[..., 0]
