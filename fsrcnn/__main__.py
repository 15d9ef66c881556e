"""`python -m fsrcnn`, the installed command `fsrcnn`, and upscale.py."""

from fsrcnn.signals import handle, stop_at_once


def main() -> None:
    """Runs the command line. Ctrl-C is quiet from here on: the imports take some tenths of a second."""
    handle(lambda _: stop_at_once)
    from fsrcnn.cli import upscale
    from fsrcnn.errors import run_script

    run_script(upscale)


if __name__ == "__main__":
    main()
