"""Pictures enlarged: files (upscale.py) and arrays (arrays.py).

Both go the same way: windows of a few hundred rows are read (reading.py), enlarged to strips while the next are read
(strips.py, pixels.py; sized.py where that takes several steps), and the strips are written (png.py, writing.py) or put
together. formats.py says what each format can hold, restoration.py how strongly each picture is restored. Before a file
is decoded, containers.py reads its structure, damage.py whether a JPEG is whole, and memory.py how much memory the
decoder needs. bmp.py reads and writes BMP.
"""
