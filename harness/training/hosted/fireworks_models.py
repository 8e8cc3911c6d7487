"""What was tuned at Fireworks: its models, the deployments that they answer on, and their files."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from os import SEEK_END
from pathlib import Path, PurePosixPath
from tarfile import BLOCKSIZE, GNU_FORMAT, USTAR_FORMAT, HeaderError, TarInfo

from harness.records import Json
from harness.training.hosted.adapters import CONFIG, MOST_CONFIG_BYTES, WEIGHTS
from harness.training.hosted.downloads import keep, opened, ranged
from harness.training.hosted.fireworks_account import FireworksAccount, Taken
from harness.training.hosted.fireworks_objects import account_of, last, read, text
from harness.training.hosted.provider import RequestRejected

PAGE, MOST_PAGES = 200, 100


@dataclass(frozen=True)
class FireworksModels(FireworksAccount):
    """The models of an account, and where they answer."""

    def deployment(self, name: str) -> Mapping[str, Json]:
        """A deployment by its full name, as the service shows it."""
        with self._calling() as client:
            return read(client.deployments.get(last(name), account_id=account_of(name)))

    def loaded(self, model: str, deployment: str) -> Mapping[str, Json] | None:
        """How an adapter is loaded on a deployment; None where it is not."""
        with self._calling() as client:
            page = client.lora.list(page_size=PAGE)
            for number, each in enumerate(page.iter_pages()):
                for found in map(read, each.deployed_models or ()):
                    if (text(found, "model"), text(found, "deployment")) == (model, deployment):
                        return found
                if number >= MOST_PAGES:
                    break
        return None

    def load(self, model: str, deployment: str) -> None:
        """Load an adapter on a deployment that the user made for that; harmless where it is loaded."""
        with suppress(Taken), self._calling() as client:
            client.lora.load(model=model, deployment=deployment)

    def _model(self, name: str) -> Mapping[str, Json]:
        with self._calling() as client:
            return read(client.models.get(last(name), account_id=account_of(name)))

    def fetch_adapter(self, job: str, model: str, step: int | None, archive: Path, most_bytes: int) -> None:
        """See ``GivesAdapters``. The service gives single files, which become a tar archive here."""
        with self._calling() as client:
            found = client.models.get_download_endpoint(last(model), account_id=account_of(model))
            urls = dict(found.filename_to_signed_urls or {})
        config_at, weights_at = (_one(urls, name) for name in (CONFIG, WEIGHTS))
        with ExitStack() as stack:
            # what is there is gone on with where it begins with the same configuration
            beside = archive.with_name(f"{archive.name}.config")
            beside.unlink(missing_ok=True)
            keep(opened(config_at, self.endpoint, ranged(0), stack), beside, 0, MOST_CONFIG_BYTES)
            config = beside.read_bytes()
            beside.unlink()
        head = _member(CONFIG, len(config)) + config + bytes(-len(config) % BLOCKSIZE)
        there, size = _kept(archive, head)
        if size is None:
            before = len(head) + BLOCKSIZE
            if not there:
                archive.write_bytes(head + bytes(BLOCKSIZE))
            with ExitStack() as stack:
                answer = opened(weights_at, self.endpoint, ranged(there), stack)
                keep(answer, archive, there, most_bytes, before)
            size = archive.stat().st_size - before
        with archive.open("r+b") as file:
            file.seek(len(head))
            file.write(_member(WEIGHTS, size))  # says from now on that the weights are whole
            file.truncate(file.tell() + size)
            file.seek(0, SEEK_END)
            file.write(bytes(-size % BLOCKSIZE + 2 * BLOCKSIZE))


def _kept(archive: Path, head: bytes) -> tuple[int, int | None]:
    """Bytes of the weights that an archive with this head holds, and their whole size once it is known."""
    if not archive.exists():
        return 0, None
    with archive.open("rb") as file:
        is_same, member = file.read(len(head)) == head, file.read(BLOCKSIZE)
    if not is_same or len(member) < BLOCKSIZE:
        return 0, None
    held = archive.stat().st_size - len(head) - BLOCKSIZE
    if not any(member):
        return held, None
    try:
        size = TarInfo.frombuf(member, "utf-8", "strict").size
    except HeaderError:
        return 0, None
    return held, size if held >= size else None


def _one(urls: Mapping[str, str], name: str) -> str:
    """Where the file of that name lies; names may have folders before them."""
    found = [url for path, url in urls.items() if PurePosixPath(path).name == name]
    if len(found) != 1:
        raise RequestRejected(f"it names {len(found) or 'no'} {name} among {', '.join(urls) or 'no files'}")
    return found[0]


def _member(name: str, size: int) -> bytes:
    member = TarInfo(name)
    member.size = size
    return member.tobuf(USTAR_FORMAT if size < 8 * 2**30 else GNU_FORMAT)
