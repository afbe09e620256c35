"""`make look`: pictures, in .moxin/look/, of a real miniature ladder's pages, to look at.

`make look HUB=.moxin/hub` draws those of the demo; only a copy of its Hub is served. It fails where
a page is wider than its window, asks another machine for something or logs an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from browser import Browser
from huggingface_hub import HfApi
from running_hub import Hub
from tests.conftest import ROOT, new_workplace, serving

from moxin_hub import launcher

_WIDTHS = (1280, 390)
_SCHEMES = ("light", "dark")
_ERRORS = ("Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed")


def main() -> None:
    """Draws each page wide and narrow, light and dark."""
    pictures = Path(".moxin/look").absolute()
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir(parents=True)
    faults = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        home, ladder = _copied(folder, sys.argv[1]) if len(sys.argv) > 1 else _miniature(folder)
        hub = Hub(home / "hub").start()
        browser = Browser(folder / "browser")
        browser.open(launcher.page_address(hub.who))
        own = (hub.who.endpoint, home.as_uri(), "data:")
        for name, address in (_pages(hub) | {"report": _report(home, ladder)}).items():
            for width in _WIDTHS:
                for scheme in _SCHEMES:
                    browser.open(address, width, dark=scheme == "dark")
                    browser.picture(pictures / f"{name}-{width}-{scheme}.png")
                    of = f"{name}, {width} px, {scheme}"
                    faults += [f"{of}: {fault}" for fault in _faults(browser, own, width)]
        for scheme in _SCHEMES:  # what the README shows; the report was opened last
            browser.open(address, 1080, dark=scheme == "dark")
            browser.picture(pictures / f"head-{scheme}.png", before="#lineage", scale=1.5)
        browser.close()
        hub.stop()
    sys.stdout.write(f"{len(list(pictures.glob('*.png')))} pictures in {pictures}\n")
    sys.exit("\n".join(faults) or None)


def _faults(browser: Browser, own: tuple[str, ...], width: int) -> list[str]:
    """What is wrong with the page that was opened last."""
    faults = [f"{event}"[:500] for event in browser.events if event["method"] in _ERRORS]
    for event in browser.events:
        if event["method"] == "Network.requestWillBeSent":
            asked = event["params"]["request"]["url"]
            faults += [] if asked.startswith(own) else [f"asks for {asked}"]
    wide = browser.value("document.scrollingElement.scrollWidth")
    return faults + ([f"is {wide} px wide"] if wide > width else [])


def _copied(folder: Path, hub: str) -> tuple[Path, Path]:
    """A home with a copy of a Hub, and the ladder that `make demo` runs."""
    # With a port and tokens of its own, so that nothing can reach the server of the original.
    private = shutil.ignore_patterns("port", "token*", "server.*")
    shutil.copytree(hub, folder / "home" / "hub", ignore=private)
    return folder / "home", ROOT / "recipes" / "moxin-nano"


def _miniature(folder: Path) -> tuple[Path, Path]:
    """The home of a ladder that was run for this, and the ladder."""
    place = new_workplace(folder)
    with serving(place):
        ladder = place.run()
        if ladder.returncode != 0:
            sys.exit(f"moxin run ended with {ladder.returncode}:\n{ladder.stderr[-3000:]}")
    return place.home, place.ladder


def _report(home: Path, ladder: Path) -> str:
    """The address of the page of `moxin report`, which is written."""
    page = home / "report.html"
    command = [Path(sys.executable).parent / "moxin", "report", ladder, "--out", page]
    variables = os.environ | {"MOXIN_HOME": str(home), "MOXIN_HUB": "local"}
    subprocess.run(command, env=variables, check=True, capture_output=True)
    return page.as_uri()


def _pages(hub: Hub) -> dict[str, str]:
    """The addresses of the list, of each repository, and of an older commit."""
    api: HfApi = hub.api()
    paths = [model.id for model in api.list_models()]
    paths += [f"datasets/{dataset.id}" for dataset in api.list_datasets()]
    pages = {"index": ""} | {path.rpartition("/")[2]: path for path in paths}
    pages["commit"] = f"{paths[0]}/commit/{api.list_repo_commits(paths[0])[-1].commit_id}"
    return {name: f"{hub.who.endpoint}/{path}" for name, path in pages.items()}


if __name__ == "__main__":
    main()
