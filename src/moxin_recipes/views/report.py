"""The report of a ladder: one page that needs nothing beside it, made of the Hub's manifests."""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from moxin_recipes.views import figure, lineage, pictures, planned, tables
from moxin_recipes.views.panels import Panel
from moxin_recipes.views.stages import Stage
from moxin_recipes.views.tables import Table

_PAGE = Path(__file__).parent / "report.html"


@dataclass(frozen=True)
class Section:
    """A heading, pictures and tables; `empty` is said where there is none of them."""

    title: str
    empty: str
    pictures: Sequence[Panel | lineage.Lineage] = ()
    tables: Sequence[Table] = ()
    drawn: list[tuple[str, Markup]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """For the address of the section within the page."""
        return re.sub(r"\W+", "-", self.title.lower())


def page(ladder: str, stages: Sequence[Stage]) -> str:
    """The HTML of a ladder; the same manifests give the same bytes."""
    numbers = itertools.count(1)
    for section in (all_of := sections(stages)):
        for panel in section.pictures:
            drawn = figure.svg(panel, f"p{next(numbers)}")
            section.drawn.append((panel.title, Markup(drawn)))  # noqa: S704 (escaped there)
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters["code"] = _code
    template = environment.from_string(_PAGE.read_text(encoding="utf-8"))
    return template.render(
        ladder=ladder,
        facts=_facts(stages),
        stages=stages,
        sections=all_of,
        is_number=tables.is_number,
        colours=figure.COLOURS,
        dark=figure.DARK,
    )


def sections(stages: Sequence[Stage]) -> list[Section]:
    """All sections, in order; those of which the Hub has nothing too."""
    head = pictures.head(stages)
    line = lineage.of(stages)
    rewards = _rest(pictures.rewards(stages), head)
    scored = [*tables.scores(stages), *tables.revisions(stages)]
    planning = planned.planned(stages)
    return [
        Section("At a glance", "No stage has a held-out score yet.", head),
        Section(
            "Lineage",
            "No stage is done yet.",
            [line] if line else [],
            [*tables.artifacts(stages)],
        ),
        Section(
            "Loss and bits per byte",
            "No stage has trained yet.",
            [*pictures.losses(stages)],
            [*tables.bits(stages)],
        ),
        Section(
            "Reward and accuracy",
            "No stage after pretraining is done yet.",
            rewards,
            [*tables.metrics(stages)],
        ),
        Section("Scores", "No model has been evaluated.", [*pictures.revisions(stages)], scored),
        Section(
            "Data",
            "No data stage is done.",
            [*pictures.removed(stages), *pictures.sources(stages)],
            [*tables.data(stages)],
        ),
        Section(
            "Time and cost",
            "No stage is done yet.",
            [*pictures.seconds(stages)],
            [*tables.cost(stages)],
        ),
        Section(
            "Plan and result",
            "No stage has both planned and counted tokens.",
            [],
            [*tables.plan(planning)],
        ),
    ]


def _code(text: str) -> Markup:
    """Text with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 (escaped)


def _rest(panels: Iterable[Panel], shown: Sequence[Panel]) -> list[Panel]:
    return [panel for panel in panels if panel not in shown]


def _facts(stages: Sequence[Stage]) -> list[tuple[str, str]]:
    """(what, how much) for the first lines of the page."""
    done = [stage for stage in stages if stage.outputs]
    facts = [("stages done", f"{len(done)} of {len(stages)}")]
    seconds = sum(stage.main["seconds"] for stage in done)
    tokens = sum(map(pictures.trained, done))
    energy = sum(stage.main.get("energy_kwh") or 0 for stage in done)
    price = sum(stage.main.get("price") or 0 for stage in done)
    if done:
        facts.append(("time", f"{seconds / 3600:,.1f} h" if seconds >= 7200 else _minutes(seconds)))
    if tokens:
        facts.append(("tokens trained on", f"{tokens:,}"))
    facts += [("energy", f"{energy:,.3g} kWh")] if energy else []
    facts += [("price", f"{price:,.2f}")] if price else []
    versions = {stage.main["code"]["version"] for stage in done}
    facts += [("moxin-recipes", ", ".join(sorted(versions)))] if versions else []
    return facts


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:,.1f} min" if seconds >= 60 else f"{seconds:,.0f} s"
