"""Slurm's commands as a cluster answers them: a job runs at once, on this machine."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.warm import Warm

COMMANDS = {
    # Runs each task of the array at once, one after another; the job's id is the last word. The
    # job that adds up statistics for people to read stays in the queue.
    "sbatch": """#!/bin/bash
for word in "$@"; do case $word in --export=*) export RUN_OFFSET=${word##*=};; esac; done
script=${!#}
grep -q ^merge_stats "$script" && echo Submitted batch job 8 && exit
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
for task in $(seq 0 "$last"); do
  SLURM_ARRAY_TASK_ID=$task SLURM_JOB_ID=7 SLURM_NODELIST=here bash "$script" >&2
done
echo Submitted batch job 7
""",
    "srun": """#!/bin/bash
while [[ $1 == -* ]]; do [[ $1 == -n ]] && shift; shift; done
exec "$@"
""",
    "squeue": "#!/bin/bash\n",
    "scontrol": "#!/bin/bash\necho here\n",
}
# Instead: the process that serves the two pipes runs the task, and says how it ended.
SRUN_BY_PIPE = """#!/bin/bash
echo "$SLURM_ARRAY_TASK_ID $RUN_OFFSET ${!#}" > "$MOXIN_TEST_TASKS"
read -r code < "$MOXIN_TEST_TASKS-ended"
exit "$code"
"""


def install(folder: Path) -> Path:
    """The commands in a folder for PATH."""
    folder.mkdir()
    for name, text in COMMANDS.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


@contextlib.contextmanager
def forking(folder: Path, warm: Warm) -> Iterator[dict[str, str]]:
    """The variables of a cluster whose tasks are forks of a process that has imported all."""
    commands = install(folder)
    (commands / "srun").write_text(SRUN_BY_PIPE)
    asked, ended = folder / "tasks", folder / "tasks-ended"
    os.mkfifo(asked)
    os.mkfifo(ended)
    variables = {
        "PATH": f"{commands}:{os.environ['PATH']}",
        "MOXIN_TEST_TASKS": str(asked),
    }

    def serve() -> None:
        while words := asked.read_text().split():
            task, offset, file = words
            job = {"SLURM_ARRAY_TASK_ID": task, "RUN_OFFSET": offset, "SLURM_JOB_ID": "7"}
            environment = {**os.environ, **job, "SLURM_NODELIST": "here"}
            done = warm.completed(["datatrove.tools.launch_pickled_pipeline", file], environment)
            ended.write_text(f"{done.returncode}\n")

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield variables
    finally:
        asked.write_text("")
        server.join()
