"""The tags of files and streams: which belong to the film, and how the container is told to hold them."""

import io
from collections.abc import Mapping
from typing import Any

import av

# With these, tags in any encoding pass through as they are. PyAV 19 does so by itself, and knows no such argument.
ANY_TAGS: dict[str, Any] = {} if int(av.__version__.partition(".")[0]) > 18 else {"metadata_errors": "surrogateescape"}
# What the source's muxer, or its encoder, said of what it made. The last ones are statistics that mkvmerge writes.
MADE_BY = {"encoder", "major_brand", "minor_version", "compatible_brands", "vendor_id", "duration", "alpha_mode"}
STATISTICS = {"bps", "number_of_frames", "number_of_bytes"}
STATISTICS_BEGIN = ("_statistics_", "bps-", "duration-", "number_of_frames-", "number_of_bytes-")
# The formats that hold any tag, but only as QuickTime's keys: programs that read iTunes' tags then see none.
WITH_KEYS = {"mov", "mp4", "ipod"}
KEYS = {"movflags": "use_metadata_tags"}


def own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags without what the source's muxer and encoder said of what they made."""
    return {key: value for key, value in tags.items() if not _is_made(key.lower(), value)}


def stream_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """`own_tags` of a stream, with its title called so, as QuickTime does not."""
    own = own_tags(tags)
    return {"title": own.pop("name")} | own if "name" in own else own


def _is_made(key: str, value: str) -> bool:
    is_muxer = key == "software" and value.startswith("Lavf")  # FFmpeg's name in AVI
    return is_muxer or key in MADE_BY | STATISTICS or key.startswith(STATISTICS_BEGIN)


def compared(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags as they can be compared with those of another format: keys in small letters and without spaces, no
    second form of one in a language, a time without its empty fraction of a second.
    """
    small = {key.lower().replace(" ", "_"): value for key, value in own_tags(tags).items()}
    short = {key: value for key, value in small.items() if key[:-4] not in small or key[-4:-3] != "-"}
    if "creation_time" in short:
        short["creation_time"] = short["creation_time"].replace(".000000Z", "Z")
    return short


def format_options(format_name: str, tags: Mapping[str, str]) -> dict[str, str]:
    """The options by which a file of the format holds more of these tags than without; none where there are no such."""
    wanted = compared(tags).keys()
    if format_name not in WITH_KEYS or wanted <= _kept(format_name, tags, {}):
        return {}
    return KEYS


def _kept(format_name: str, tags: Mapping[str, str], options: dict[str, str]) -> set[str]:
    """Which tags a file of the format holds: those of a small one, made in memory."""
    file = io.BytesIO()
    with av.open(file, "w", format=format_name, container_options=options, **ANY_TAGS) as output:
        stream = output.add_stream("mpeg4", rate=1)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        output.metadata.update(own_tags(tags))
        output.mux([*stream.encode(av.VideoFrame(16, 16, "yuv420p")), *stream.encode(None)])
    file.seek(0)
    with av.open(file, **ANY_TAGS) as container:
        return set(compared(container.metadata))
