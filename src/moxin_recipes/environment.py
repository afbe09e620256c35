"""Which Hub this process talks to, and where the embedded one lives; standard library only.

huggingface_hub reads its variables once, when it is first imported, so they have to be right
before that. Two doors call `choose()`: the command line, and the launch of a stage
(`stages/__init__.py`). An import of the package changes no variable and writes no file.
"""

import logging
import os
import sys
import warnings
from pathlib import Path
from urllib.parse import urlsplit

from moxin_hub.launcher import Identity, identity
from moxin_recipes.secrecy import is_bare

PUBLIC_ENDPOINT = "https://huggingface.co"
# Loopback counts as offline for the clients, and the staging switch beats HF_ENDPOINT.
_SWITCHED_OFF = (
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_DATASETS_OFFLINE",
    "HUGGINGFACE_CO_STAGING",
)
_NAMED = "MOXIN_HUB_NAMED"  # set where a command names its Hub, for the stages that it launches
_LOOPBACK = ["127.0.0.1", "localhost"]
_OURS = ("HF_ENDPOINT", "HF_TOKEN", "HF_HOME", "HF_HUB_DISABLE_XET", *_SWITCHED_OFF)
_CALLERS = {name: os.environ.get(name) for name in _OURS}


def home() -> Path:
    """Folder of all that a run makes: `hub/`, `runs/`, `report/`, `cache/`, `trackio/`."""
    return Path(os.environ.get("MOXIN_HOME", ".moxin")).absolute()


def local_hub() -> Identity:
    """Port and token of the embedded Hub of this home; made at the first call."""
    return identity(home() / "hub")


def variables_of(folder: Path) -> dict[str, str]:
    """Environment variables with which any Hugging Face client uses the Hub of that home."""
    return local_variables(identity(folder / "hub"), folder / "cache")


def local_variables(who: Identity, cache: Path) -> dict[str, str]:
    """Environment variables with which any Hugging Face client uses the embedded Hub."""
    bypass = [name for name in os.environ.get("NO_PROXY", "").split(",") if name]
    no_proxy = ",".join(dict.fromkeys(bypass + _LOOPBACK))
    return {
        "HF_ENDPOINT": who.endpoint,
        "HF_TOKEN": who.token,
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        **dict.fromkeys(_SWITCHED_OFF, "0"),
    }


def choose(hub: str | None = None) -> None:
    """Points the environment at a Hub: `local`, `hf` or a URL.

    Without an argument: MOXIN_HUB, else HF_ENDPOINT as it stands, else the public Hub where a
    token is at hand and the embedded Hub where none is. Exits for an address with a secret.
    """
    if hub is not None:
        os.environ[_NAMED] = hub
    hub = hub or os.environ.get("MOXIN_HUB")
    if hub is None and "HF_ENDPOINT" not in os.environ:
        hub = "hf" if _has_token() else "local"
    if hub is None:
        pass  # HF_ENDPOINT as it stands
    elif hub == "local":
        os.environ.update(variables_of(home()))
        os.environ.pop("HUGGING_FACE_HUB_TOKEN", None)
        # Loopback takes a moment; its progress bars would bury those of training.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    else:
        for name, value in _CALLERS.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        os.environ.pop("HF_ENDPOINT", None)
        if hub != "hf":
            # Only the public Hub has the Xet storage that its client otherwise uploads to.
            os.environ.update({"HF_ENDPOINT": hub, "HF_HUB_DISABLE_XET": "1"})
    if hub is not None:
        os.environ["MOXIN_HUB"] = hub
    if not is_bare(os.environ.get("HF_ENDPOINT", PUBLIC_ENDPOINT)):
        sys.exit(
            "error: the Hub's address (--hub, MOXIN_HUB or HF_ENDPOINT) has a user, a password or "
            "a query, and logs repeat it; give it without, and the token as HF_TOKEN"
        )
    os.environ.setdefault("TRACKIO_DIR", str(home() / "trackio"))
    # TRL counts its users, and `evaluate` the metrics that are loaded, even from a local file.
    os.environ.update({"HF_HUB_DISABLE_TELEMETRY": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"})


def takes_own_files() -> bool:
    """Whether files of this machine may go to the Hub in use: it is here, or was named by `--hub`.

    A token or a variable that lies about says nothing of what its owner wants to give away.
    """
    host = urlsplit(os.environ.get("HF_ENDPOINT", PUBLIC_ENDPOINT)).hostname
    return host in _LOOPBACK or _NAMED in os.environ


def choose_none(with_public: bool) -> None:
    """For work between Hubs that are named one by one: no endpoint, the caller's token and cache.

    Unless the public Hub is among them, nothing may be kept from the network for being offline.
    """
    choose("hf")
    os.environ.update({"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HUGGINGFACE_CO_STAGING": "0"})
    if not with_public:
        os.environ.update({"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"})
    bypass = os.environ.get("NO_PROXY", "")
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = f"{bypass},127.0.0.1,localhost".lstrip(",")


def is_local() -> bool:
    """Whether the Hub in use is the embedded one of this home."""
    endpoint = os.environ.get("HF_ENDPOINT")
    return endpoint is not None and endpoint == local_hub().endpoint


def _has_token() -> bool:
    folder = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    stored = Path(os.environ.get("HF_TOKEN_PATH", folder / "token"))
    named = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
    return any(os.environ.get(name) for name in named) or stored.is_file()


def log_to_stderr() -> None:
    """Plain lines on standard error, without what the libraries have to say to each other."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    # TRL calls what transformers is about to rename, at every step.
    warnings.filterwarnings("ignore", ".*will be removed in v6", FutureWarning)
