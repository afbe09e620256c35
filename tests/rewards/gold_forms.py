r"""Right answers in the forms that MATH, GSM8K, Minerva, OlympiadBench and AIME write, with values.

A form makes (answer, another form of the same value, key) from random numbers; two answers are one
value exactly where their keys are equal. All numbers are made up here.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

Made = tuple[str, str, object]


@dataclass(frozen=True)
class Gold:
    """An answer, the same value written otherwise, and its key."""

    form: str
    answer: str
    second: str
    key: object


def _number(value: Fraction) -> tuple[str, Fraction]:
    return ("number", value)  # type: ignore[return-value]


def _integer(r: random.Random) -> Made:
    n = r.randint(-400, 999)
    return str(n), f"{n}.0", _number(Fraction(n))


def _aime(r: random.Random) -> Made:
    n = r.randint(0, 999)
    return f"{n:03d}", f"m + n = {n}", _number(Fraction(n))


def _thousands(r: random.Random) -> Made:
    n = r.randint(1000, 9_999_999)
    return f"{n:,}", f"{n:,}".replace(",", "{,}"), _number(Fraction(n))


def _price(r: random.Random) -> Made:
    cents = r.randint(101, 9999)
    return rf"\${cents / 100:.2f}", f"{cents / 100:.2f}", _number(Fraction(cents, 100))


def _fraction(r: random.Random) -> Made:
    value = Fraction(r.randint(-60, 60) or 7, r.randint(2, 40))
    sign = "-" if value < 0 else ""
    a, b = abs(value.numerator), value.denominator
    return rf"{sign}\frac{{{a}}}{{{b}}}", rf"{sign}\dfrac{{{3 * a}}}{{{3 * b}}}", _number(value)


def _short_fraction(r: random.Random) -> Made:
    a, b = r.randint(1, 9), r.randint(2, 9)
    return rf"\frac{a}{b}", f"{a}/{b}", _number(Fraction(a, b))


def _mixed(r: random.Random) -> Made:
    whole, a, b = r.randint(1, 30), r.randint(1, 6), 7
    value = whole + Fraction(a, b)
    return rf"{whole}\frac{{{a}}}{{{b}}}", rf"\frac{{{value.numerator}}}{{{b}}}", _number(value)


def _decimal(r: random.Random) -> Made:
    n = r.randint(1, 9999)
    return f"{n / 100:.2f}", f"{n / 100:.3f}", _number(Fraction(n, 100))


def _root(r: random.Random) -> Made:
    a, b = r.randint(2, 40), r.choice([2, 3, 5, 6, 7])
    return rf"{a}\sqrt{{{b}}}", rf"\sqrt{{{a * a * b}}}", ("root", a, b)


def _surd(r: random.Random) -> Made:
    a, b, c = r.randint(1, 30), r.randint(1, 9), r.choice([2, 3, 5, 7])
    return rf"{a}+{b}\sqrt{c}", rf"{b}\sqrt{{{c}}} + {a}", ("surd", a, b, c)


def _pi(r: random.Random) -> Made:
    a, b = r.randint(1, 60), r.randint(2, 9)
    value = Fraction(a, b)
    return rf"\frac{{{a}\pi}}{{{b}}}", rf"\frac{{{a}}}{{{b}}}\pi", ("pi", value)


def _degrees(r: random.Random) -> Made:
    n = r.randint(1, 359)
    return rf"{n}^\circ", rf"{n} \text{{ degrees}}", _number(Fraction(n))


def _percent(r: random.Random) -> Made:
    n = r.randint(1, 97)
    return rf"{n}\%", f"{n} percent", ("percent", n)


def _scientific(r: random.Random) -> Made:
    a, power = r.randint(101, 999), r.randint(-20, -8)
    value = Fraction(a, 100) * Fraction(10) ** power
    return f"{a / 100:.2f}e{power}", rf"{a / 100:.2f} \times 10^{{{power}}}", _number(value)


def _pair(r: random.Random) -> Made:
    a, b = r.randint(-30, 30), r.randint(31, 60)
    return f"({a},{b})", rf"\left({a}, {b}\right)", ("pair", a, b)


def _polar(r: random.Random) -> Made:
    a, b = r.randint(2, 30), r.randint(2, 9)
    return (
        rf"\left( {a}, \frac{{\pi}}{{{b}}} \right)", rf"({a}, \pi/{b})", ("polar", a, b)
    )  # fmt: skip


def _vector(r: random.Random) -> Made:
    a, b, c = r.randint(-9, 9), r.randint(-9, 9), r.randint(10, 40)
    return (
        rf"\begin{{pmatrix}} {a} \\ {b} \\ {c} \end{{pmatrix}}",
        rf"\begin{{bmatrix}}{a}\\{b}\\{c}\end{{bmatrix}}", ("vector", a, b, c)
    )  # fmt: skip


def _interval(r: random.Random) -> Made:
    a, b = r.randint(-30, -1), r.randint(1, 30)
    return f"[{a},{b})", rf"{a} \le x < {b}", ("interval", a, b)


def _rays(r: random.Random) -> Made:
    a, b = r.randint(-30, -1), r.randint(1, 30)
    return (
        rf"(-\infty, {a}) \cup ({b}, \infty)", rf"x < {a} \text{{ or }} x > {b}", ("rays", a, b)
    )  # fmt: skip


def _list(r: random.Random) -> Made:
    a, b, c = sorted(r.sample(range(-40, 40), 3))
    return f"{a}, {b}, {c}", rf"\{{{c}, {a}, {b}\}}", ("list", a, b, c)


def _plus_minus(r: random.Random) -> Made:
    a, b = r.randint(1, 30), r.choice([2, 3, 5, 7])
    return rf"{a} \pm \sqrt{{{b}}}", rf"{a} - \sqrt{b}, {a} + \sqrt{b}", ("pm", a, b)


def _complex(r: random.Random) -> Made:
    a, b = r.randint(-20, 20) or 3, r.randint(1, 20)
    return f"{a} + {b}i", f"{b}i {a:+d}", ("complex", a, b)


def _linear(r: random.Random) -> Made:
    a, b = r.randint(2, 30), r.randint(1, 30)
    return f"y = {a}x + {b}", f"{b} + {a}x", ("linear", a, b)


def _polynomial(r: random.Random) -> Made:
    a, b = r.randint(2, 20), r.randint(1, 20)
    return f"x^2 + {a}x + {b}", f"x^{{2}}+{b}+{a} x", ("polynomial", a, b)


def _exponential(r: random.Random) -> Made:
    a, b = r.randint(2, 20), r.randint(2, 9)
    return rf"{a} e^{{-{b} t}}", rf"{a}\mathrm{{e}}^{{-{b}t}}", ("exponential", a, b)


def _formula(r: random.Random) -> Made:
    a = r.randint(2, 40)
    return (
        rf"\frac{{m v_0^2}}{{{a} g}}", rf"\frac{{1}}{{{a}}} \frac{{m v_{{0}}^{{2}}}}{{g}}",
        ("formula", a)
    )  # fmt: skip


def _unit(r: random.Random) -> Made:
    n = r.randint(2, 900)
    return rf"{n} \text{{ cm}}", rf"{n} \, \mathrm{{cm}}", _number(Fraction(n))


def _base(r: random.Random) -> Made:
    n = r.randint(20, 400)
    digits, rest = "", n
    while rest:
        digits, rest = str(rest % 7) + digits, rest // 7
    return f"{digits}_7", f"{digits}_{{7}}", ("base 7", n)


def _letter(r: random.Random) -> Made:
    letter = r.choice("ABCDE")
    return rf"\text{{({letter})}}", letter, ("letter", letter)


def _name(r: random.Random) -> Made:
    name = r.choice(["Evelyn", "Navin", "Briana", "Debra", "Saturn", "parabola", "hyperbola"])
    return rf"\text{{{name}}}", name, ("name", name)


def _ratio(r: random.Random) -> Made:
    a, b = r.randint(1, 9), r.choice([11, 13, 17])
    return f"{a}:{b}", rf"{a} : {b}", ("ratio", a, b)


def _matrix(r: random.Random) -> Made:
    a, b, c = r.randint(0, 9), r.randint(0, 9), r.randint(10, 30)
    return (
        rf"\begin{{pmatrix}} {a} & {b} \\ {c} & 1 \end{{pmatrix}}",
        rf"\begin{{bmatrix}}{a}&{b}\\{c}&1\end{{bmatrix}}", ("matrix", a, b, c)
    )  # fmt: skip


FORMS: dict[str, Callable[[random.Random], Made]] = {
    name.removeprefix("_"): make
    for name, make in list(globals().items())
    if name.startswith("_") and getattr(make, "__annotations__", {}).get("return") == Made
}


def golds(count: int, seed: int) -> list[Gold]:
    """`count` answers, the forms in turn."""
    rng = random.Random(seed)
    names = sorted(FORMS)
    return [
        Gold(name, *FORMS[name](rng))
        for place in range(count)
        for name in [names[place % len(names)]]
    ]


def tie(one: Gold, other: Gold) -> bool:
    """Whether two answers are one value: `40%` is .4 and, as the policy has it, 40."""
    keys = []
    for gold in (one, other):
        kind, *value = gold.key  # type: ignore[misc]
        keys.append({Fraction(value[0]), Fraction(value[0], 100)} if kind == "percent" else {
            Fraction(value[0]) if kind == "number" else gold.key})  # fmt: skip
    return bool(keys[0] & keys[1])
