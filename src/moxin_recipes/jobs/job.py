"""One stage as a Job: found again where it runs already, else started; followed to its end."""

import logging
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import JobInfo

from moxin_recipes import environment
from moxin_recipes.hub import session
from moxin_recipes.jobs.code import Code
from moxin_recipes.jobs.flavor import Flavor
from moxin_recipes.ladder.launches import StageFailed
from moxin_recipes.ladder.run import Checked
from moxin_recipes.ladder.state import State
from moxin_recipes.recipe.strict import RecipeError

log = logging.getLogger(__name__)
_TAIL = 20  # lines of a Job that was followed before


@dataclass(frozen=True)
class Jobs:
    """What all Jobs of a command have in common."""

    checked: Checked
    code: Code
    flavor: Flavor
    image: str
    secrets: dict[str, str] = field(repr=False)
    timeouts: dict[str, int]  # stage → seconds
    found: list[JobInfo]  # those that ran already when costs were agreed on

    def run(self, before: State, file: Path) -> None:
        """Brings a stage to its end; StageFailed with the way out if its Job has another one."""
        name = before.recipe.name
        job = self._found(before) or running(before)
        known = job is not None
        job = job or self._start(before, file)
        cancel = f"`hf jobs cancel {job.owner.name}/{job.id}` ends it"
        log.info("%-22s Job %s %s: %s", name, job.id, "runs" if known else "started", job.url)
        try:
            ended = _follow(job, _TAIL if known else None)
        except (KeyboardInterrupt, SystemExit, session.HubError):
            log.warning("Job %s goes on by itself: %s; %s", job.id, job.url, cancel)
            raise
        status = ended.status
        said = f"{status.stage} ({status.message})" if status.message else str(status.stage)
        if status.stage != "COMPLETED":
            longer = "; --timeout gives it more" if "timeout" in said.lower() else ""
            raise StageFailed(
                f"{name}: Job {job.id} ended as {said}; its log: {job.url}; what is on the Hub "
                f"stays, and the same command goes on from there{longer}"
            )
        if not self.checked.state(before.recipe).done:
            raise StageFailed(
                f"{name}: Job {job.id} ended as {said}, but the Hub has no result of these values "
                f"and inputs; what it ran is in its log: {job.url}"
            )

    def _found(self, before: State) -> JobInfo | None:
        for job in self.found:
            if _labels(before).items() <= (job.labels or {}).items():
                return job
        return None

    def _start(self, before: State, file: Path) -> JobInfo:
        name = before.recipe.name
        if name not in self.timeouts:
            raise StageFailed(
                f"{name}: what it is made of has changed since the costs were shown, and it was "
                "not among them; the same command shows them anew"
            )
        words = ["run", self.code.ladder, "--only", name]
        words += ["--force", name] if name in self.checked.force else []
        words += ["--hub", _hub(), "--namespace", session.namespace()]
        variables = {
            "MOXIN_LAUNCHER": file.read_text(encoding="utf-8"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        with session.errors(f"{name}: its Job"):
            return session.api().run_job(
                image=self.image,
                command=["sh", "-c", self.code.script(words)],
                env=variables | ({"MOXIN_PATCH": self.code.patch} if self.code.patch else {}),
                secrets=self.secrets,
                flavor=self.flavor.name,
                timeout=self.timeouts[name],
                labels=_labels(before),
                namespace=session.namespace(),
            )


def running(before: State) -> JobInfo | None:
    """The Job that makes this very result now, whoever started it; None without one."""
    if before.identity is None:
        return None
    with session.errors("the list of Jobs"):
        found = session.api().list_jobs(
            status=["SCHEDULING", "RUNNING"],
            labels=_labels(before),
            namespace=session.namespace(),
        )
        return next(iter(found), None)


def _hub() -> str:
    """This command's Hub as `--hub` has it."""
    endpoint = os.environ.get("HF_ENDPOINT", environment.PUBLIC_ENDPOINT)
    return "hf" if endpoint == environment.PUBLIC_ENDPOINT else endpoint


def _labels(before: State) -> dict[str, str]:
    """A stage by its key; its name alone would find one with other values."""
    recipe = before.recipe
    if before.identity is None:
        raise RecipeError(f"{recipe.path}: an input is not on the Hub any more")
    name = re.sub(r"[^a-zA-Z0-9_-]", "-", f"{recipe.ladder}-{recipe.name}")
    return {"name": name, "moxin-key": before.identity.key[:32]}


def _follow(job: JobInfo, tail: int | None) -> JobInfo:
    """Prints the lines of a Job as they come; the client goes on where the stream was cut."""
    api, owner = session.api(), job.owner.name
    with session.errors(f"Job {job.id}"):
        for line in api.fetch_job_logs(job_id=job.id, namespace=owner, follow=True, tail=tail):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        return api.wait_for_job(job_id=job.id, namespace=owner)
