"""`make look`: pictures, in .moxin/look/, of the pages of a real miniature ladder, to look at.

`make look HUB=DIR` draws those of the Hub in DIR, such as the demo's; only a copy of it is served.
Of the miniature it draws the page of `moxin report`, too.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from huggingface_hub import HfApi
from running_hub import Hub
from tests.conftest import new_workplace, serving

_SIZES = {"wide": "1280,3000", "phone": "390,6000"}
_SHADES = {"light": [], "dark": ["--blink-settings=preferredColorScheme=0"]}
_REPORT = "report.html"
_QUIET = "--disable-gpu --disable-quic --no-first-run --disable-background-networking"


def main() -> None:
    """Draws the list and each repository, wide and narrow, light and dark."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        sys.exit("make look needs Chromium: `apt-get install chromium`, then the same command")
    pictures = Path(".moxin/look").absolute()
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        root = Path(sys.argv[1]) if len(sys.argv) > 1 else _miniature(folder)
        # With a port and tokens of its own, so that nothing can reach the server of the original.
        private = shutil.ignore_patterns("port", "token*", "server.*")
        hub = Hub(shutil.copytree(root, folder / "copy", ignore=private)).start()
        addresses = {
            page.rpartition("/")[2] or "index": f"{hub.who.endpoint}/{page}"
            for page in ("", *_published(hub.api()))
        }
        if (report := folder / _REPORT).exists():
            addresses["report"] = report.as_uri()
        for name, address in addresses.items():
            for width, size in _SIZES.items():
                for shade, flags in _SHADES.items():
                    file = f"{name}-{width}-{shade}.png"
                    command = [browser, "--headless", "--no-sandbox", *_QUIET.split(), *flags]
                    command += [f"--user-data-dir={folder / 'browser'}", "--hide-scrollbars"]
                    command += [f"--window-size={size}", f"--screenshot={pictures / file}"]
                    command += [address]
                    subprocess.run(command, check=True, capture_output=True, timeout=120)
        hub.stop()
    sys.stdout.write(f"{len(list(pictures.glob('*.png')))} pictures in {pictures}\n")


def _miniature(folder: Path) -> Path:
    """The Hub of a ladder that was run for this."""
    place = new_workplace(folder)
    with serving(place):
        ladder = place.run()
        if ladder.returncode != 0:
            sys.exit(f"moxin run ended with {ladder.returncode}:\n{ladder.stderr[-3000:]}")
        words = (str(place.ladder), "--hub", "local", "--out", str(folder / _REPORT))
        place.moxin("report", *words).check_returncode()
    return place.home / "hub"


def _published(api: HfApi) -> list[str]:
    """The addresses of all repositories, which are opened: the browser has no token."""
    paths = []
    for kind, prefix, repositories in (
        ("model", "", api.list_models()),
        ("dataset", "datasets/", api.list_datasets()),
    ):
        for repository in repositories:
            api.update_repo_settings(repository.id, repo_type=kind, private=False)
            paths.append(prefix + repository.id)
    return paths


if __name__ == "__main__":
    main()
