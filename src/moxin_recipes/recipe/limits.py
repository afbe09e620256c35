"""What the public Hub takes: the numbers that a recipe's outputs are counted against.

A hard limit is a refusal; beyond a recommended one the Hub slows down, or asks to be asked first.
Where a number was read is said beside it. No limit of branches is published: none stands here.
"""

import re

from moxin_recipes.recipe.strict import RecipeError

# Its page on limits of repositories says so of these, as of 2025; not checked from here since then.
FOLDER_FILES = 10_000  # files and folders in a folder, hard
REPO_FILES = 100_000  # files of a repository, recommended
LARGEST_FILE = 500 * 10**9  # bytes of a file, hard
REPO_BYTES = 300 * 10**9  # bytes of a repository before one should ask; uncertain, it has moved
# huggingface_hub 2.4 says so of these.
COMMIT_FILES = 25_000  # big files of a commit, hard (HfApi.create_commit)
LARGE_FILE = 50 * 10**9  # bytes: more cannot be downloaded over HTTP (MAX_HTTP_DOWNLOAD_SIZE)
NAME = 96  # characters of a repository's name, and of its namespace, hard (validate_repo_id)

_NAME = re.compile(rf"(?![-.])[A-Za-z0-9_.-]{{1,{NAME}}}(?<![-.])")


def check_name(key: str, repo: str) -> None:
    """Raises RecipeError for a repository that no Hub can make, by its name alone."""
    for part in repo.split("/"):
        wrong = not _NAME.fullmatch(part) or "--" in part or ".." in part or part.endswith(".git")
        if wrong or repo.count("/") > 1:
            raise RecipeError(
                f"`{key}`: {repo!r} is no name of a repository: write NAME or NAMESPACE/NAME, each "
                f"of 1 to {NAME} letters, digits, -, _ and ., not --, .. or .git, and neither - "
                "nor . at an end"
            )


def check_folder(key: str, entries: int, what: str) -> None:
    """Raises RecipeError for more entries than a folder of the Hub has; `key` makes them fewer."""
    if entries > FOLDER_FILES:
        raise RecipeError(
            f"`{key}`: {what} would have {entries:,} entries, and the Hub takes {FOLDER_FILES:,}; "
            "change it"
        )


def check_file(key: str, size: float, what: str) -> None:
    """Raises RecipeError for a file of more bytes than the Hub takes; `key` makes it smaller."""
    if size > LARGEST_FILE:
        raise RecipeError(
            f"`{key}`: {what} would have {size / 1e9:,.0f} GB, and the Hub takes files of at most "
            f"{LARGEST_FILE / 1e9:,.0f} GB; change it"
        )
