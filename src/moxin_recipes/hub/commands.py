"""`moxin hub …`: the embedded Hub served, listed, filled, copied, checked and swept."""

import argparse
import logging
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from moxin_recipes import environment

if TYPE_CHECKING:
    from huggingface_hub import HfApi

log = logging.getLogger(__name__)


def add_to(parser: argparse.ArgumentParser) -> None:
    """Gives the command its actions; `act` of what is parsed runs the one chosen."""
    actions = parser.add_subparsers(dest="action", required=True)
    serve = actions.add_parser("serve", help="serve it until interrupted", allow_abbrev=False)
    serve.add_argument("--port", type=int)
    env = actions.add_parser("env", help="print the variables that use it", allow_abbrev=False)
    listing = actions.add_parser("ls", help="list its repositories", allow_abbrev=False)
    fsck = actions.add_parser("fsck", help="re-hash everything it holds", allow_abbrev=False)
    gc = actions.add_parser("gc", help="delete what no reference leads to", allow_abbrev=False)
    add = actions.add_parser(
        "add", help="put files and folders into a repository", allow_abbrev=False
    )
    add.description = (
        "A file gets its name as its path in the repository, the files of a folder their paths "
        "below it. Hidden files are added, .git is not. Two files with one path are an error."
    )
    add.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="a file or a folder")
    add.add_argument("--as", dest="repo", required=True, metavar="NAMESPACE/REPO")
    add.add_argument("--type", choices=["model", "dataset"], default="model")
    mirror = actions.add_parser(
        "mirror", help="copy repositories to another Hub", allow_abbrev=False
    )
    mirror.description = (
        "Copies branches, tags and history of each REPO (NAMESPACE/NAME, datasets/NAMESPACE/NAME), "
        "or of all; give the same command again after a stop. Commits are made anew, so their ids "
        "and dates change; MOXIN_HOME/mirror.json says which is which. A HUB is "
        "`local`, the path of a local Hub's folder, `hf`, or a URL. For a URL, MOXIN_FROM_TOKEN "
        "and MOXIN_TO_TOKEN hold the tokens."
    )
    mirror.add_argument("--from", dest="source", required=True, metavar="HUB")
    mirror.add_argument("--to", dest="target", required=True, metavar="HUB")
    mirror.add_argument("--repo", action="append", default=[], metavar="REPO")
    mirror.set_defaults(act=_mirror)
    on_root = {serve: _serve, env: _env, listing: _ls, fsck: _fsck, gc: _gc, add: _add}
    for action, act in on_root.items():
        action.add_argument("--root", type=Path, help="folder of the Hub's files")
        action.set_defaults(act=act)


def _root(options: argparse.Namespace) -> Path:
    given: Path | None = options.root
    return (given or environment.home() / "hub").absolute()


def _serve(options: argparse.Namespace) -> None:
    from moxin_hub import launcher

    root = _root(options)
    who = launcher.identity(root, options.port)
    process = launcher.ensure(who)
    log.info("serving %s at %s; `moxin hub env` has the variables", root, who.endpoint)
    log.info("to look at it, within ten minutes and once: %s", launcher.page_address(who))
    if process is None:
        log.info("it was running already")
    else:
        process.wait()


def _env(options: argparse.Namespace) -> None:
    from moxin_hub import launcher

    variables = environment.local_variables(
        launcher.identity(_root(options)), environment.home() / "cache"
    )
    for name, value in variables.items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")


def _client(root: Path) -> "HfApi":
    """A client of the embedded Hub at `root`, which is started when it does not answer."""
    from moxin_hub import launcher

    who = launcher.identity(root)
    os.environ.update(environment.local_variables(who, environment.home() / "cache"))
    launcher.ensure(who)
    from huggingface_hub import HfApi

    return HfApi()


def _add(options: argparse.Namespace) -> None:
    from moxin_recipes.hub import add

    files = add.files(options.paths)
    api = _client(_root(options))
    from huggingface_hub import CommitOperationAdd

    from moxin_recipes.hub import commits, session
    from moxin_recipes.hub.side import NAMELESS

    repo = options.repo if "/" in options.repo else f"{NAMELESS}/{options.repo}"
    operations = [CommitOperationAdd(path, file) for path, file in files.items()]
    with session.errors(options.repo):
        api.create_repo(repo, repo_type=options.type, private=True, exist_ok=True)
        for part in commits.parts(operations):
            done = api.create_commit(repo, part, repo_type=options.type, commit_message="Added")
    for operation in operations:
        if operation._should_ignore:
            log.warning("%s: left out, as .gitignore says", operation.path_in_repo)
    sys.stdout.write(f"{options.repo}@{done.oid}\n")


def _ls(options: argparse.Namespace) -> None:
    api = _client(_root(options))
    for kind, repos in (("model", api.list_models()), ("dataset", api.list_datasets())):
        for repo in repos:
            sys.stdout.write(f"{kind}\t{repo.id}\t{repo.sha}\n")


def _mirror(options: argparse.Namespace) -> None:
    environment.choose_none(with_public="hf" in (options.source, options.target))
    from moxin_recipes.hub import mirror

    mirror.mirror(
        mirror.End.named(options.source, "MOXIN_FROM_TOKEN"),
        mirror.End.named(options.target, "MOXIN_TO_TOKEN"),
        options.repo,
    )


def _gc(options: argparse.Namespace) -> None:
    _maintain("gc", _root(options))


def _fsck(options: argparse.Namespace) -> None:
    _maintain("fsck", _root(options))


def _maintain(action: str, root: Path) -> None:
    from moxin_hub import launcher

    if code := launcher.maintain(action, root):
        sys.exit(code)
