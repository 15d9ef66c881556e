"""A file of encoded frames: what an encoder gave, byte for byte and with exact times, as no container keeps both.

Each packet is a HEAD, its side data and its content; behind the last one comes a `Footer` in JSON and its length.
"""

import json
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import av
from av.packet import PacketSideData, packet_sidedata_type_from_literal

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream

HEAD = struct.Struct("<QqqqBB")  # bytes, pts, dts, duration, is it a key frame, how much side data
SIDE = struct.Struct("<BQ")  # bytes of the name of its kind, and of itself
LENGTH = struct.Struct("<Q")  # of the footer


class Tally(NamedTuple):
    """How many of the frames read were damaged, had another size than the first, and were marked as interlaced and left
    so.
    """

    damaged: int = 0
    resized: int = 0
    combed: int = 0

    def plus(self, other: "Tally") -> "Tally":
        return Tally(*(mine + its for mine, its in zip(self, other, strict=True)))

    def minus(self, other: "Tally") -> "Tally":
        return Tally(*(mine - its for mine, its in zip(self, other, strict=True)))


NOTHING = Tally()


@dataclass(frozen=True)
class Footer:
    """What a part's file says of it. before, last: the times of the frame that the film has before the part's first,
    and of the part's last, in units of the source's; None: there is none.
    """

    frames: int
    before: int | None
    last: int | None
    time_base: tuple[int, int] = (0, 1)  # of the packets
    tally: Tally = NOTHING
    seen: list[str] = field(default_factory=list)  # the kinds of side data that the source's frames had
    header: str = ""  # the encoder's extradata, in hexadecimal


def write_packets(file: BinaryIO, packets: "Iterable[Packet[Stream]]") -> None:
    """Appends packets to a file that is being written."""
    for packet in packets:
        sides = [(side.data_type.encode(), bytes(side)) for side in packet.iter_sidedata()]
        times = packet.pts, packet.dts, packet.duration or 0
        file.write(HEAD.pack(packet.size, *times, packet.is_keyframe, len(sides)))
        for kind, data in sides:
            file.write(SIDE.pack(len(kind), len(data)) + kind + data)
        file.write(bytes(packet))


def write_footer(file: BinaryIO, footer: Footer) -> None:
    """Completes a file, which is then on the disk."""
    text = json.dumps(asdict(footer)).encode()
    file.write(text + LENGTH.pack(len(text)))
    file.flush()
    os.fsync(file.fileno())


def read_footer(path: Path) -> Footer:
    with path.open("rb") as file:
        return _footer(file)[0]


def read_packets(path: Path, stream: "Stream") -> "Iterator[Packet[Stream]]":
    """The packets, ready to be written to a stream."""
    with path.open("rb") as file:
        footer, end = _footer(file)
        time_base = Fraction(*footer.time_base)
        file.seek(0)
        while file.tell() < end:
            size, pts, dts, duration, is_keyframe, sides = HEAD.unpack(file.read(HEAD.size))
            kept = [_side_data(file) for _ in range(sides)]
            packet: Packet[Stream] = av.Packet(file.read(size))
            packet.time_base, packet.stream = time_base, stream
            packet.pts, packet.dts, packet.duration = pts, dts, duration
            packet.is_keyframe = bool(is_keyframe)
            for side in kept:
                side.to_packet(packet)
            yield packet


def _footer(file: BinaryIO) -> tuple[Footer, int]:
    """The footer, and where it begins."""
    file.seek(-LENGTH.size, os.SEEK_END)
    (length,) = LENGTH.unpack(file.read(LENGTH.size))
    begin = file.seek(-LENGTH.size - length, os.SEEK_END)
    said = json.loads(file.read(length))
    said |= {"tally": Tally(*said["tally"]), "time_base": tuple(said["time_base"])}
    return Footer(**said), begin


def _side_data(file: BinaryIO) -> PacketSideData:
    of_name, of_data = SIDE.unpack(file.read(SIDE.size))
    kind: Any = file.read(of_name).decode()
    made: Any = PacketSideData
    side: PacketSideData = made(packet_sidedata_type_from_literal(kind), of_data)
    side.update(file.read(of_data))
    return side
