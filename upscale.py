"""Enlarges pictures and videos: `python upscale.py photo.jpg`, a folder, or a quoted pattern."""

from fsrcnn.__main__ import main

if __name__ == "__main__":
    main()
