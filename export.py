"""Turns weights into files that other programs load: `python export.py --format onnx`."""

from exports.formats import exporter
from exports.request import chosen_weights, read_export_config
from fsrcnn.errors import RequestError, run_script
from fsrcnn.files import written_whole


def main() -> None:
    config = read_export_config(__doc__)
    if config.output.exists() and not config.output.is_dir():
        raise RequestError(f"output: {config.output} is a file, expected a folder")
    export = exporter(config.format)
    for path, weights in chosen_weights(config).items():
        for name, content, comparison in export(path, weights, config):
            with written_whole(config.output / name) as unfinished:
                unfinished.write_bytes(content)
            print(f"{config.output / name}: {len(content):,} bytes, {comparison}")


if __name__ == "__main__":
    run_script(main)
