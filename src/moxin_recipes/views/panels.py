"""What a picture shows, as plain data: lines, scores with their intervals, bars."""

from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """(x, y) points in order; `band` is the interval of 95 % of each y."""

    label: str
    points: list[Point]
    band: list[Point] | None = None


@dataclass(frozen=True)
class Curves:
    """Lines over one axis; `marked` ones have a dot at each point."""

    title: str
    x: str
    y: str
    lines: list[Line]
    marked: bool = False

    def words(self) -> str:
        """What the picture shows, for people who cannot see it."""
        told = [
            f"{line.label + ': ' if line.label != self.title else ''}"
            f"{_y(line.points[0])} to {_y(line.points[-1])}"
            for line in self.lines
        ]
        first, last = self.lines[0].points[0][0], self.lines[-1].points[-1][0]
        return f"{self.y} by {self.x}, {first:,.0f} to {last:,.0f}. {'; '.join(told)}."


@dataclass(frozen=True)
class Score:
    """A score with its interval of 95 %, if there is one, and what it was before."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    before: float | None = None

    def words(self) -> str:
        """`0.743 → 0.720`."""
        return (f"{self.before:.3f} → " if self.before is not None else "") + f"{self.value:.3f}"


@dataclass(frozen=True)
class Dots:
    """Scores under each other."""

    title: str
    x: str
    rows: list[Score]

    def words(self) -> str:
        """What the picture shows, for people who cannot see it."""
        return f"{self.x}. " + "; ".join(
            f"{row.label}: {row.words()}"
            + (
                f" (95 %: {row.low:.3f} to {row.high:.3f})"
                if row.low is not None and row.high is not None
                else ""
            )
            for row in self.rows
        )


@dataclass(frozen=True)
class Bars:
    """Lengths under each other, each made of parts: (label, {part: length})."""

    title: str
    x: str
    rows: list[tuple[str, dict[str, float]]]

    @property
    def parts(self) -> list[str]:
        """The names of the parts, in the order of their first bar."""
        return list(dict.fromkeys(name for _, parts in self.rows for name in parts))

    def words(self) -> str:
        """What the picture shows, for people who cannot see it."""
        several = len(self.parts) > 1
        told = []
        for label, parts in self.rows:
            sizes = [
                f"{name} {number(one)}" if several else number(one) for name, one in parts.items()
            ]
            told.append(f"{label}: {', '.join(sizes)}")
        return f"{self.x}. {'; '.join(told)}"


Panel = Curves | Dots | Bars


def number(value: float) -> str:
    """A number with commas, of four digits where it has a fraction."""
    return f"{value:,.0f}" if value == int(value) or value >= 1000 else f"{value:,.4g}"


def _y(point: Point) -> str:
    return number(point[1])
