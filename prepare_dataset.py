"""Downloads the public image sets into data/, or copies them from `--source DIR`, and verifies every file."""

import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import pooch
from tqdm import tqdm

from config import Config, read_config
from dataset import VALIDATION_SET
from fsrcnn.errors import FailureError, RequestError, run_script

REGISTRY = Path(__file__).parent / "data" / "registry.txt"
DOWNLOADS_AT_ONCE = 8


def wanted_sets(config: Config, registry: Iterable[str]) -> list[str]:
    """The registry's sets that the configuration names. Raises RequestError for a name that is neither one of them
    nor a folder.
    """
    known = sorted({name.split("/")[0] for name in registry})
    named = [config.validation_set or VALIDATION_SET, *config.train_sets, *config.test_sets]
    for name in named:
        if name not in (*known, "Samples") and not Path(name).is_dir():
            raise RequestError(f"{name}: no such set or folder; the sets are {', '.join(known)}")
    return [name for name in known if name in named]


def bring(registry: Path, sets: Iterable[str], data_dir: Path, source: Path | None = None) -> int:
    """Brings every file of the sets into data_dir, several at once, and returns their number.

    registry: lines of "set/file sha256:digest url". source: a folder with the same layout to copy from instead of
    downloading. A file that is there with the right digest is left alone; any other is written under a temporary
    name, verified and renamed. Raises FailureError, naming the file, at the first failure; the files brought by then
    are kept.
    """
    pooch.get_logger().setLevel("WARNING")  # it would announce every file
    collection = pooch.create(data_dir, base_url="", retry_if_failed=2 if source is None else 0)
    collection.load_registry(registry)
    names = [name for name in collection.registry if name.split("/")[0] in sets]
    for name in names:
        (data_dir / name).parent.mkdir(parents=True, exist_ok=True)

    def fetch(name: str) -> None:
        if source is None:
            collection.fetch(name, downloader=pooch.HTTPDownloader(timeout=30))
        else:
            collection.fetch(name, downloader=lambda _, target, __: shutil.copyfile(source / name, target))

    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        jobs = {pool.submit(fetch, name): name for name in names}
        try:
            done = as_completed(jobs)
            for job in tqdm(done, "verifying and bringing files", len(jobs), unit="file", dynamic_ncols=True):
                if error := job.exception():
                    raise _failure(jobs[job], error, source)
        except BaseException:  # Ctrl-C too: downloads under way are finished, no further one is begun
            pool.shutdown(cancel_futures=True)
            raise
    return len(names)


def _failure(name: str, error: BaseException, source: Path | None) -> FailureError:
    match error:
        case ValueError():
            cause = "the digest is not the registry's: the file was damaged on the way or changed at its source"
            remedy = "run the command again" if source is None else f"replace it in {source}"
        case FileNotFoundError():
            cause, remedy = f"missing in {source}", "put it there, or download without --source"
        case OSError(errno=int() as number) if number:
            cause, remedy = str(error), "solve that and run the command again; the files brought so far are kept"
        case OSError():
            cause = f"download failed: {error}"
            remedy = "check the network and run the command again, or import a local copy with --source DIR"
        case _:
            raise error
    return FailureError(f"{name}: {cause}; {remedy}")


def main() -> None:
    config = read_config("prepare", __doc__)
    if config.source is not None and not config.source.is_dir():
        raise RequestError(f"source: no folder {config.source}")
    registry = dict.fromkeys(line.split()[0] for line in REGISTRY.read_text(encoding="utf-8").splitlines())
    sets = wanted_sets(config, registry)
    count = bring(REGISTRY, sets, config.data_dir, config.source)
    print(f"{config.data_dir}: {', '.join(sets)}: {count} files, all digests verified")


if __name__ == "__main__":
    run_script(main)
