"""Enlarges pictures and videos: `python upscale.py photo.jpg`, a folder, or a quoted pattern."""

if __name__ == "__main__":
    import os
    import signal

    # Before everything else is imported, so that an early Ctrl-C shows no traceback; `main` sets all signals.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda number, _: os._exit(128 + number))

    from fsrcnn.__main__ import main

    main()
