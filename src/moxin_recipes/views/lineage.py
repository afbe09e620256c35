"""What was made from what, as the manifests of a ladder pin it."""

from collections.abc import Sequence
from dataclasses import dataclass

from moxin_recipes.views.stages import Stage


@dataclass(frozen=True)
class Node:
    """A stage, or an input that no stage of the ladder made."""

    label: str
    repo: str  # of its main output, without a namespace
    made: bool
    is_model: bool


@dataclass(frozen=True)
class Lineage:
    """The nodes in order, and (from, to, is the model that training starts from) by position."""

    nodes: list[Node]
    edges: list[tuple[int, int, bool]]
    title: str = "What was made from what"

    def words(self) -> str:
        """What the picture shows, for people who cannot see it."""
        made = [
            f"{node.label} from {', '.join(self.nodes[at].label for at in before)}"
            for place, node in enumerate(self.nodes)
            if (before := [above for above, below, _ in self.edges if below == place])
        ]
        return "; ".join(made) + "."


def of(stages: Sequence[Stage]) -> Lineage | None:
    """The lineage of the stages that are done; None where there are none."""
    done = [stage for stage in stages if stage.outputs]
    made = {output.commit: stage.name for stage in done for output in stage.outputs.values()}
    parents = {stage.name: stage.main.get("parents", []) for stage in done}
    outside = {
        parent["commit"]: f"{parent['repo']}@{parent['commit'][:8]}"
        for stage in done
        for parent in parents[stage.name]
        if parent["commit"] not in made
    }
    nodes = [Node(label, "", made=False, is_model=False) for label in outside.values()]
    places = {commit: place for place, commit in enumerate(outside)}
    edges: dict[tuple[int, int], bool] = {}
    for stage in done:
        here = len(nodes)
        for parent in parents[stage.name]:
            above = places.get(parent["commit"])
            if above is not None:  # else a later stage made it: the recipes are out of order
                starts = parent["key"] == "model_name_or_path"
                edges[above, here] = edges.get((above, here), False) or starts
        main = next(iter(stage.outputs.values()))
        repo = main.repo.rpartition("/")[2]
        nodes.append(Node(stage.name, repo, made=True, is_model=main.type == "model"))
        places |= {output.commit: here for output in stage.outputs.values()}
    edged = [(*ends, starts) for ends, starts in edges.items()]
    return Lineage(nodes, edged) if nodes else None
