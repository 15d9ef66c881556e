"""What becomes of all that a film's file holds: kept, or said. The table in docs/enlarging.md is what is expected."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
from av.sidedata.sidedata import Type
from av.stream import Disposition
from made import make_clip, needed
from made import network as shipped_network

from fsrcnn.network import Network
from fsrcnn.videos import hdr
from fsrcnn.videos.frames import UNNAMED, chroma_weights, side_data, upscale_chroma
from fsrcnn.videos.kept import NOT_SAID, SIDE_DATA
from fsrcnn.videos.source import open_source, packets_before
from fsrcnn.videos.target import own_priority
from fsrcnn.videos.upscale import VideoResult, upscale_video

DOCS = Path(__file__).parents[2] / "docs" / "enlarging.md"
WIDTH, HEIGHT, RATE, FRAMES = 48, 32, 25, 5
MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
PIXEL_ASPECT = Fraction(4, 3)
BT2020, PQ = 9, 16


@pytest.fixture(scope="module")
def network() -> Network:
    return shipped_network("fsrcnn_s", 2)


def picture(number: int, pixel_format: str) -> av.VideoFrame:
    """A frame of slanted stripes that move."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    luma = (128 + 60 * np.sin((columns + rows + 3 * number) / 5)).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(luma, "gray").reformat(format=pixel_format)
    frame.pts, frame.time_base = number, Fraction(1, RATE)
    return frame


def sound(output: av.container.OutputContainer, codec: str, layout: str = "stereo") -> None:
    stream = output.add_stream(codec, rate=48000, layout=layout)
    stream.metadata["language"] = "fin"
    wave = (1000 * np.sin(np.arange(9600) / 10)).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(np.repeat(wave, stream.codec_context.channels)[None], "s16", layout)
    frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
    output.mux([*stream.encode(frame), *stream.encode(None)])


def make_film(path: Path, codec: str = "libx264", pixel_format: str = "yuv420p10le", **told: str) -> Path:
    """A film in Matroska with everything that an enlarged one may lose."""
    with own_priority(), av.open(str(path), "w") as output:
        video = output.add_stream(codec, rate=RATE, options=told)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, pixel_format
        context = video.codec_context
        context.sample_aspect_ratio = PIXEL_ASPECT
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = BT2020, PQ, BT2020, 2
        video.set_display_rotation(90)
        video.metadata.update(title="The view", language="ita", timecode="01:00:00:00")
        lines = output.add_mux_stream("subrip", time_base=Fraction(1, 1000))
        lines.metadata["language"], lines.disposition = "swe", Disposition.forced
        output.add_attachment("letters.ttf", "application/x-truetype-font", b"a font")
        output.add_attachment("cover.png", "image/png", png())
        output.metadata.update(title="A film", com_maker_key="own", creation_time="2024-05-06T05:08:09.000000Z")
        output.set_chapters(
            [
                {
                    "id": n,
                    "start": 100 * n,
                    "end": 100 * n + 99,
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": t},
                }
                for n, t in enumerate(["One", "Two"])
            ]
        )
        frames = [packet for n in range(FRAMES) for packet in video.encode(picture(n, pixel_format))]
        sound(output, "pcm_s24le")
        output.mux([*frames, *video.encode(None)])
        line = av.Packet(b"<i>A line</i>")
        line.pts = line.dts = 40
        line.duration, line.time_base, line.stream = 80, Fraction(1, 1000), lines
        output.mux(line)
    return path


def png() -> bytes:
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 16, 16, "rgb24", Fraction(1, 1)
    grey = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 128, np.uint8), "rgb24")
    return b"".join(map(bytes, [*encoder.encode(grey), *encoder.encode(None)]))


HDR = {"x264-params": f"mastering-display={MASTERING}:cll=1000,400", "chroma_sample_location": "topleft"}


class Film(NamedTuple):
    """A file that was read back, by PyAV alone."""

    container: av.container.InputContainer
    video: av.VideoStream
    frame: av.VideoFrame
    said: str


def tags(of: dict[str, str]) -> dict[str, str]:
    return {key.lower(): value for key, value in of.items()}


def texts(film: Film) -> list[bytes]:
    stream = film.container.streams.subtitles[0]
    with av.open(film.container.name) as again:
        packets = [bytes(packet) for packet in again.demux(again.streams[stream.index]) if packet.size]
    return [packet for packet in packets if b"A line" in packet]


# The rows of the table: whether the result has it, and the words that say that it does not.
ROWS: dict[str, tuple[Callable[[Film], bool], str]] = {
    "pixel aspect": (lambda film: abs(film.video.sample_aspect_ratio / PIXEL_ASPECT - 1) < 0.005, "pixel aspect (4:3)"),
    "rotation": (lambda film: film.frame.rotation == 90, "rotation (90 degrees)"),
    "primaries, transfer and matrix": (
        lambda film: (film.frame.color_primaries, film.frame.color_trc, film.frame.colorspace) == (BT2020, PQ, BT2020),
        "colour primaries (BT2020), colour transfer (SMPTE2084), "
        "colour matrix (bt2020nc)|colour matrix: bt2020nc became",
    ),
    "full range": (lambda film: film.frame.color_range == 2, "full range"),
    "place of chroma": (lambda film: "topleft" in location(film), "chroma location (topleft)"),
    "HDR10: mastering display, light level": (
        lambda film: has_hdr(film.frame),
        "HDR mastering display|HDR content light level",
    ),
    "title": (lambda film: film.container.metadata.get("title") == "A film", "tag title"),
    "any other tag": (lambda film: tags(film.container.metadata).get("com_maker_key") == "own", "tag com_maker_key"),
    "time it was made": (lambda film: "creation_time" in tags(film.container.metadata), "tag creation_time"),
    "chapters": (
        lambda film: [chapter["metadata"]["title"] for chapter in film.container.chapters()] == ["One", "Two"],
        "2 chapters",
    ),
    "titles of streams": (
        lambda film: "The view" in (tags(film.video.metadata).get("title"), tags(film.video.metadata).get("name")),
        "tag title of stream 0",
    ),
    "languages of streams": (
        lambda film: (film.video.language, film.container.streams.audio[0].language) == ("ita", "fin"),
        "language of stream 0 (ita)",
    ),
    "timecode": (lambda film: tags(film.video.metadata).get("timecode") == "01:00:00:00", "tag timecode of stream 0"),
    "subtitles of text": (
        lambda film: bool(film.container.streams.subtitles) and len(texts(film)) == 1,
        "left out, as the container cannot hold it: stream 1 (subtitles subrip)",
    ),
    "marks of streams, such as forced": (
        lambda film: any(stream.disposition & Disposition.forced for stream in film.container.streams.subtitles),
        "mark as forced of stream 1|stream 1 (subtitles subrip)",
    ),
    "fonts": (lambda film: any(each.data == b"a font" for each in film.container.streams.attachments), "(attachment"),
    "cover": (
        lambda film: any(each.disposition & Disposition.attached_pic for each in film.container.streams),
        "cover",
    ),
    "sound of PCM": (lambda film: len(film.container.streams.audio) == 1, "(sound"),
}


def location(film: Film) -> str:
    with open_source(Path(film.container.name)) as source:
        return source.chroma_location


def has_hdr(frame: av.VideoFrame) -> bool:
    """Whether a frame has the numbers of MASTERING, to what AV1 rounds them to, and of the light level."""
    held = side_data(frame)
    if hdr.MASTERING not in held:
        return False
    numbers = hdr.DISPLAY.unpack_from(held[hdr.MASTERING])[:20]
    values = [over / under for over, under in zip(numbers[::2], numbers[1::2], strict=True)]
    right = [0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329, 0.0001, 1000]
    return np.allclose(values, right, atol=3e-5) and hdr.LEVEL.unpack_from(held[hdr.LIGHT]) == (1000, 400)


EIGHT_BITS = {"OGV", "VP9"}
COLUMNS = {
    "MP4": ("mp4", None),
    "MOV": ("mov", None),
    "M4V": ("m4v", None),
    "MKV": ("mkv", None),
    "WebM": ("webm", "libsvtav1"),
    "OGV": ("ogv", None),
    "AVI": ("avi", None),
    "TS": ("ts", None),
    "MPG": ("mpg", None),
    "FLV": ("flv", None),
    "WMV": ("wmv", None),
    "VP9": ("webm", "libvpx-vp9"),
    "x265": ("mp4", "libx265"),
    "SVT-AV1": ("mp4", "libsvtav1"),
    "FFV1": ("mkv", "ffv1"),
}


def table() -> dict[str, dict[str, str]]:
    """The cells of docs/enlarging.md, by column and row."""
    text = DOCS.read_text(encoding="utf-8")
    lines = re.search(r"<!-- kept -->\n(.*?)\n<!-- /kept -->", text, re.DOTALL)
    assert lines is not None
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1].splitlines()]
    return {column: {row[0]: row[number] for row in rows} for number, column in enumerate(head) if number}


@pytest.mark.parametrize("column", COLUMNS)
def test_everything_is_kept_or_said_as_documented(network: Network, tmp_path: Path, column: str):
    suffix, codec = COLUMNS[column]
    pixel_format = "yuv420p" if column in EIGHT_BITS else "yuv420p10le"
    source, target = make_film(tmp_path / "film.mkv", pixel_format=pixel_format, **HDR), tmp_path / f"large.{suffix}"
    said = "\n".join(upscale_video(source, target, network, codec, deinterlace="off").warnings)
    found = {}
    with av.open(str(target)) as container, av.open(str(target)) as again:
        film = Film(container, container.streams.video[0], next(again.decode(video=0)), said)
        for name, (is_there, words) in ROWS.items():
            is_said = all(any(way in said for way in each.split("|")) for each in words.split(", "))
            converted = re.search(
                rf"{'subtitles' if 'subtitles' in name else 'sound'} \w+\) is converted to (\w+)", said
            )
            as_what = converted[1] if converted and words.startswith(("(sound", "left out, as")) else "yes"
            found[name] = as_what if is_there(film) else "said" if is_said else "LOST SILENTLY"
    assert found == table()[column], said


def test_every_kind_of_side_data_has_its_place():
    assert SIDE_DATA.keys() | NOT_SAID == {kind.name for kind in Type} | {UNNAMED}
    assert not SIDE_DATA.keys() & NOT_SAID


# What FFmpeg's tools tell of a file, by the row that it belongs to.
PLACES = {
    "pixel aspect": "sample_aspect_ratio display_aspect_ratio",
    "rotation": "rotation",
    "primaries, transfer and matrix": "color_primaries color_transfer color_trc color_space colorspace",
    "full range": "color_range",
    "place of chroma": "chroma_location",
    "title": "tags metadata",
    "chapters": "chapters",
    "languages of streams": "language",
    "marks of streams, such as forced": "disposition",
    # Tests of their own: bits and subsampling, times, size and fields of frames, alpha, each kind of side data.
    "tested elsewhere": (
        "channel_layout channels closed_captions duration field_order film_grain format height "
        "interlaced_frame nb_samples pix_fmt planes pts pts_time repeat_pict sample_fmt sample_rate side_data "
        "side_data_list start_pts start_time time time_base top_field_first width "
    ),
    # Of the encoder, the muxer, the decoder, or of this one reading.
    "made anew": (
        "alpha_mode average_rate avg_frame_rate base_rate best_effort_timestamp best_effort_timestamp_time "
        "bit_rate bit_rate_tolerance bits_per_coded_sample bits_per_raw_sample bits_per_sample codec "
        "codec_context codec_long_name codec_name codec_tag codec_tag_string codec_type coded_height "
        "coded_picture_number coded_width container container_options copy_opaque crop_bottom crop_left "
        "crop_right crop_top delay discard display_picture_number dts duration_time duration_ts "
        "end_display_time extradata extradata_size file filename flags flags2 format_long_name format_name "
        "framerate frames global_quality gop_size guessed_rate has_b_frames hwaccel id index index_entries "
        "initial_padding input_was_opened io_open is_avc is_corrupt is_decoder is_encoder is_hwaccel is_open "
        "key_frame level lossless max_b_frames max_bit_rate media_type metadata_encoding metadata_errors "
        "mime_codec_string nal_length_size name nb_frames nb_programs nb_read_frames nb_stream_groups "
        "nb_streams num_rects opaque open_files open_timeout options pict_type pkt_dts pkt_dts_time "
        "pkt_duration pkt_duration_time pkt_pos pkt_size probe_score profile profiles properties qmax qmin "
        "qscale r_frame_rate rate read_timeout reformatter refs reorder_depth size skip_frame "
        "start_display_time start_time_realtime stream_index stream_options streams supported_options "
        "sw_format thread_count thread_type ts_id ts_packetsize type video_codec_id view_ids_available "
    ),
}


def attributes(thing: object) -> set[str]:
    kind = type(thing)
    return {name for name in dir(thing) if name[0] != "_" and not callable(getattr(kind, name, None))}


def test_every_property_that_ffmpeg_tells_has_its_place(tmp_path: Path):
    known = {name for names in PLACES.values() for name in names.split()}
    path = make_film(tmp_path / "film.mkv")
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        frame = next(container.decode(video))
        told = set.union(*map(attributes, (container, video, video.codec_context, frame)))
    if shutil.which("ffprobe"):  # as seen by one more program
        command = "ffprobe -v error -show_streams -show_format -show_frames -show_chapters -of json".split()
        probed = json.loads(subprocess.run([*command, path], capture_output=True, text=True, check=True).stdout)
        told |= {"chapters"}.union(probed["format"], *probed["streams"], *probed["frames"])
    assert told - known == set()
    assert PLACES.keys() - ROWS.keys() == {"tested elsewhere", "made anew"}


def make_alpha(path: Path, codec: str, pixel_format: str = "yuva420p") -> Path:
    """A film whose alpha rises to the right."""
    with av.open(str(path), "w") as output:
        options = {"auto-alt-ref": "0"} if codec == "libvpx" else {}
        stream = output.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixel_format
        for number in range(3):
            frame = picture(number, pixel_format)
            alpha = frame.planes[3]
            np.frombuffer(memoryview(alpha), np.uint8).reshape(HEIGHT, -1)[:, :WIDTH] = 4 * np.arange(WIDTH)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("encoder", ["libvpx-vp9", "libvpx"])
@pytest.mark.parametrize(
    ("suffix", "codec", "is_kept"), [("webm", None, True), ("mkv", "ffv1", True), ("mp4", None, False)]
)
def test_alpha_is_enlarged_or_said(
    network: Network, tmp_path: Path, encoder: str, suffix: str, codec: str | None, is_kept: bool
):
    source, target = make_alpha(tmp_path / "film.webm", encoder), tmp_path / f"large.{suffix}"
    result = upscale_video(source, target, network, codec)
    assert result == VideoResult(3, () if is_kept else ("left out: alpha",))
    with open_source(target, with_alpha=True) as opened:
        assert (len(opened.first.planes) == 4) == is_kept
        claims = opened.video.metadata.get("alpha_mode") == "1"
        assert claims == (suffix == "webm")
        if is_kept:
            alpha = np.frombuffer(memoryview(opened.first.planes[3]), np.uint8).reshape(2 * HEIGHT, -1)[:, : 2 * WIDTH]
            expected = 4 * ((np.arange(2 * WIDTH) + 0.5) / 2 - 0.5)
            assert np.abs(alpha[:, 8:-8] - expected[8:-8]).max() < (8 if suffix == "webm" else 5)


def test_an_alpha_of_pixels_is_kept_by_an_encoder_that_has_one(network: Network, tmp_path: Path):
    source = make_alpha(tmp_path / "film.mkv", "ffv1", "yuva444p")
    assert upscale_video(source, tmp_path / "large.mkv", network, "ffv1").warnings == ()
    assert "left out: alpha" in upscale_video(source, tmp_path / "large.mp4", network).warnings


def test_hevc_in_quicktimes_containers_is_called_hvc1(network: Network, tmp_path: Path):
    source = make_film(tmp_path / "film.mkv", pixel_format="yuv420p")
    for suffix, name in (("mp4", "hvc1"), ("mov", "hvc1"), ("mkv", "")):
        upscale_video(source, tmp_path / f"large.{suffix}", network, "libx265", deinterlace="off")
        with av.open(str(tmp_path / f"large.{suffix}")) as container:
            assert container.streams.video[0].codec_context.codec_tag.strip("\0 ") == name


def make_keys(path: Path, **more: str) -> Path:
    with av.open(str(path), "w", container_options={"movflags": "use_metadata_tags"}) as output:
        stream = output.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        output.metadata.update(more, title="A film")
        output.mux([*stream.encode(picture(0, "yuv420p")), *stream.encode(None)])
    return path


@pytest.mark.parametrize("suffix", ["mov", "mp4", "mkv"])
def test_quicktimes_keys_are_kept(network: Network, tmp_path: Path, suffix: str):
    keys = {"com.apple.quicktime.make": "Apple", "com.apple.quicktime.location.ISO6709": "+48.2+016.3/", "my own": "x"}
    source = make_keys(tmp_path / "phone.mov", **keys)
    assert upscale_video(source, tmp_path / f"large.{suffix}", network).warnings == ()
    with av.open(str(tmp_path / f"large.{suffix}")) as container:
        held = tags(container.metadata)
    spaces = {"_": " "} if suffix == "mkv" else {}
    held = {key.translate(str.maketrans(spaces)): value for key, value in held.items()}
    assert held | {key.lower(): value for key, value in keys.items()} == held


def test_itunes_tags_stay_itunes_tags_where_they_say_all(network: Network, tmp_path: Path):
    source = make_keys(tmp_path / "film.mp4")
    upscale_video(source, tmp_path / "large.mp4", network)
    content = (tmp_path / "large.mp4").read_bytes()
    assert b"\xa9nam" in content
    assert b"mdta" not in content


def make_sound(path: Path, codec: str, layout: str = "stereo", film: str = "ffv1") -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream(film, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        packets = [packet for n in range(FRAMES) for packet in stream.encode(picture(n, "yuv420p"))]
        sound(output, codec, layout)
        output.mux([*packets, *stream.encode(None)])
    return path


def samples(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("s16", "stereo", 48000)
        frames = [made for frame in container.decode(audio=0) for made in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


@pytest.mark.parametrize(
    ("codec", "suffix", "becomes"),
    [
        ("pcm_s16le", "m4v", "alac"),
        ("pcm_s24le", "ogv", "flac"),
        ("pcm_s16le", "webm", "libopus"),
        ("pcm_s16le", "ts", "aac"),
        ("aac", "mpg", "libmp3lame"),
        ("libopus", "avi", "aac"),
    ],
)
def test_sound_that_the_container_cannot_hold_is_converted(
    network: Network, tmp_path: Path, codec: str, suffix: str, becomes: str
):
    source, target = make_sound(tmp_path / "film.mkv", codec), tmp_path / f"large.{suffix}"
    said, *_ = upscale_video(source, target, network).warnings
    assert said.startswith("stream 1 (sound ")
    assert said.endswith(f"is converted to {becomes}")
    before, after = samples(source), samples(target)
    if becomes in ("alac", "flac"):
        np.testing.assert_array_equal(after, before)
    else:
        inner = slice(len(before) // 4, len(before) // 2)
        assert np.std(after[inner].astype(float)) == pytest.approx(np.std(before[inner].astype(float)), rel=0.1)


@pytest.mark.parametrize(("suffix", "is_kept"), [("mkv", True), ("mp4", True), ("webm", False), ("flv", False)])
def test_sound_in_an_order_of_its_own_does_not_end_the_process(
    network: Network, tmp_path: Path, suffix: str, is_kept: bool
):
    source = make_sound(tmp_path / "film.mov", "pcm_s16le", "7.1", "mpeg4")
    content = bytearray(source.read_bytes())
    layout = content.index(b"chan") + 8
    content[layout : layout + 4] = (128 << 16 | 8).to_bytes(4, "big")  # MPEG_7_1_C, whose surround comes first
    source.write_bytes(content)
    said = upscale_video(source, tmp_path / f"large.{suffix}", network).warnings
    left_out = "left out, as the container cannot hold it: stream 1 (sound pcm_s16le)"
    assert said == (() if is_kept else (left_out,))


def lines_of(path: Path) -> list[tuple[Fraction, Fraction, str]]:
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[0]
        found = []
        for packet in container.demux(stream):
            decoded = stream.codec_context.decode2(packet) if packet.size else None
            if decoded is not None:
                words = decoded.rects[0].ass.decode().split(",", 8)[-1].removesuffix(r"{\i0}")
                found.append((packet.pts * packet.time_base, packet.duration * packet.time_base, words))
    return found


def test_subtitles_go_from_matroska_to_mp4_and_back(network: Network, tmp_path: Path):
    source = make_film(tmp_path / "film.mkv", pixel_format="yuv420p")
    there, back = tmp_path / "large.mp4", tmp_path / "larger.mkv"
    said = upscale_video(source, there, network, deinterlace="off").warnings
    assert "stream 1 (subtitles subrip) is converted to mov_text" in said
    said = upscale_video(there, back, network, deinterlace="off").warnings
    assert any("mov_text) is converted to subrip" in line for line in said)
    expected = [(Fraction(1, 25), Fraction(2, 25), r"{\i1}A line")]
    assert lines_of(source) == lines_of(there) == lines_of(back) == expected


def test_a_stream_that_cannot_be_held_never_ends_the_work(network: Network, tmp_path: Path):
    source = make_film(tmp_path / "film.mkv", pixel_format="yuv420p")
    result = upscale_video(source, tmp_path / "large.avi", network, deinterlace="off")
    assert result.frames == FRAMES
    assert "stream 1 (subtitles subrip)" in result.warnings[0]


def test_ffprobe_sees_the_shape_of_the_pixels_and_no_damage(network: Network, tmp_path: Path):
    needed(shutil.which("ffprobe") is not None, "ffprobe")
    source = make_film(tmp_path / "film.mkv", pixel_format="yuv420p")
    for suffix, codec in (("mkv", "ffv1"), ("mkv", "libsvtav1"), ("webm", None), ("mkv", None)):
        upscale_video(source, tmp_path / f"large.{suffix}", network, codec, deinterlace="off")
        command = "ffprobe -v warning -err_detect crccheck -show_streams -of json".split()
        probed = subprocess.run([*command, tmp_path / f"large.{suffix}"], capture_output=True, text=True, check=True)
        video = json.loads(probed.stdout)["streams"][0]
        assert Fraction(video["sample_aspect_ratio"].replace(":", "/")) == PIXEL_ASPECT
        assert "rc" not in probed.stderr


def test_webm_tells_a_shape_by_the_side_that_can(network: Network, tmp_path: Path):
    source = make_clip(tmp_path / "a.mkv", size=(150, 64), codec="libx264", sample_aspect_ratio=Fraction(14, 15))
    upscale_video(source, tmp_path / "b.webm", network)  # shown 280 x 128
    with av.open(str(tmp_path / "b.webm")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(14, 15)


CAPTION = b"\xb5\x00\x31GA94\x03\xc1\xff" + b"\xfc\x94\x2c" + b"\xff"  # ANSI/CTA-708: one pair of bytes, of CEA-608
AFD = b"\xb5\x00\x31DTG1\x41\xf8"  # ETSI TS 101 154, annex B: full frame, 4:3


def with_messages(source: Path, target: Path, *messages: bytes) -> Path:
    """The H.264 film with these registered messages (ITU-T H.264, D.1.6) before each frame."""
    units = [b"\x06\x04" + bytes([len(message)]) + message + b"\x80" for message in messages]
    before = b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
        for packet in old.demux(old.streams.video[0]):
            if packet.size:
                made = av.Packet(before + bytes(packet))
                made.pts, made.dts, made.time_base, made.stream = packet.pts, packet.dts, packet.time_base, stream
                made.is_keyframe = packet.is_keyframe
                new.mux(made)
    return target


def captions(path: Path) -> list[bytes | None]:
    with av.open(str(path)) as container:
        return [side_data(frame).get("A53_CC") for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("codec", "said"),
    [
        ("libx264", ("left out: active format description",)),
        ("libx265", ("left out: active format description",)),
        ("ffv1", ("left out: active format description, closed captions",)),
    ],
)
def test_closed_captions_are_kept_by_encoders_that_write_them(
    network: Network, tmp_path: Path, codec: str, said: tuple[str, ...]
):
    plain = make_sound(tmp_path / "plain.mkv", "aac")
    upscale_video(plain, tmp_path / "h264.mkv", network)
    source = with_messages(tmp_path / "h264.mkv", tmp_path / "film.mkv", CAPTION, AFD)
    assert captions(source) == [b"\xfc\x94\x2c"] * FRAMES
    result = upscale_video(source, tmp_path / "large.mkv", network, codec)
    assert {", ".join(sorted(line.removeprefix("left out: ").split(", "))) for line in result.warnings} == {
        line.removeprefix("left out: ") for line in said
    }
    assert captions(tmp_path / "large.mkv") == ([None] * FRAMES if codec == "ffv1" else captions(source))


def test_what_every_mpeg_2_film_has_is_not_said(network: Network, tmp_path: Path):
    for start, said in (("00:00:00:00", ()), ("01:00:00:00", ("left out: timecodes of frames",))):
        with av.open(str(tmp_path / "film.mpg"), "w") as output:
            stream = output.add_stream("mpeg2video", rate=RATE, options={"gop_timecode": start})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            packets = [packet for n in range(FRAMES) for packet in stream.encode(picture(n, "yuv420p"))]
            output.mux([*packets, *stream.encode(None)])
        assert upscale_video(tmp_path / "film.mpg", tmp_path / "large.mp4", network).warnings == said


@pytest.mark.parametrize(("place", "down", "right"), [("topleft", 0, 0), ("center", 0.5, 0.5), ("bottom", 1, 0.5)])
@pytest.mark.parametrize("scale", [2, 3])
def test_chroma_stays_where_the_film_says_that_it_is(place: str, down: float, right: float, scale: int):
    # As for the usual place, in test_videos.py: each sample holds the position that it has among the luma.
    rows, columns = np.meshgrid(2 * np.arange(12) + down, 2 * np.arange(14) + right, indexing="ij")
    weights = chroma_weights(scale, 2, 2, place)
    at = (upscale_chroma((16 * each).astype(np.uint16), 10, weights).astype(float) for each in (rows, columns))
    down_at, right_at = at
    inner = slice(3 * scale, -3 * scale)
    expected_rows = (2 * np.arange(12 * scale) + down + 0.5) / scale - 0.5
    expected_columns = (2 * np.arange(14 * scale) + right + 0.5) / scale - 0.5
    np.testing.assert_allclose(down_at[inner, 0], 16 * expected_rows[inner], atol=0.51)
    np.testing.assert_allclose(right_at[0, inner], 16 * expected_columns[inner], atol=0.51)


def test_a_cover_does_not_make_a_trial_read_the_whole_film(network: Network, tmp_path: Path):
    source, target = tmp_path / "film.mkv", tmp_path / "large.mkv"
    with av.open(str(source), "w") as output:
        stream = output.add_stream("ffv1", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        output.add_attachment("cover.png", "image/png", png())
        output.mux([packet for n in range(FRAMES) for packet in stream.encode(picture(n, "yuv420p"))])
    with open_source(source) as opened:
        list(packets_before(opened.container, opened.video, 1 / RATE - 1e-6))
        left = [packet for packet in opened.container.demux(opened.video) if packet.size]
    assert len(left) == FRAMES - 2  # but the first, and the one that ended it
    upscale_video(source, target, network, duration=1 / RATE)
    with av.open(str(target)) as container:
        covers = [stream for stream in container.streams if stream.disposition & Disposition.attached_pic]
        assert [bytes(packet) for packet in container.demux(covers) if packet.size] == [png()]
