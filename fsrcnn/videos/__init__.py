"""Videos enlarged: upscale.py takes one file to another, source.py reads, frames.py enlarges, target.py writes.

All of these need PyAV; this module does not.
"""

from typing import Literal, get_args

# What to do about interlaced film.
Deinterlace = Literal["auto", "off", "double"]
DEINTERLACE: tuple[Deinterlace, ...] = get_args(Deinterlace)

# The files that are taken for videos. FFmpeg reads more, which nobody looks for in a folder.
VIDEO_SUFFIXES = frozenset(".avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv".split())
