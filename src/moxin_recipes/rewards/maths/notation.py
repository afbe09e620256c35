r"""One way to write each thing: LaTeX as models and benchmarks write it → the forms read here.

Nothing here knows mathematics: signs, spaces, brackets, thousands, words and units get one notation
each, so that what reads them (`readings.py`) has one case where authors have many. Words end up in
`\text{…}`.
"""

import re

from moxin_recipes.rewards.maths.brackets import SAID
from moxin_recipes.rewards.maths.units import is_unit

_SIGNS = {
    "−": "-", "–": "-", "—": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/",
    "≤": r"\leq ", "≥": r"\geq ", "≠": r"\neq ", "≈": r"\approx ", "∞": r"\infty ",
    "π": r"\pi ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ",
    "λ": r"\lambda ", "μ": r"\mu ", "ω": r"\omega ", "φ": r"\phi ", "σ": r"\sigma ",
    "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "ℝ": r"\mathbb{R}",
    "±": r"\pm ", "∓": r"\mp ", "°": r"^\circ ", "²": "^{2}", "³": "^{3}", "½": r"\frac{1}{2}",
    "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "…": r"\ldots ", "⟨": r"\langle ", "⟩": r"\rangle ",
    "′": "'", "’": "'", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u2003": " ", "*": r"\cdot ",
}  # fmt: skip
_ALIASES = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom",
    "varnothing": "emptyset", "le": "leq", "ge": "geq", "leqslant": "leq", "geqslant": "geq",
    "lt": "<", "gt": ">", "ne": "neq", "dots": "ldots", "cdots": "ldots", "dotsc": "ldots",
    "simeq": "approx", "doteq": "approx", "ast": "cdot", "colon": ":", "lbrace": "{",
    "rbrace": "}", "lbrack": "[", "rbrack": "]", "degree": "text{degrees}", "percent": "%",
    "vert": "|", "lvert": "|", "rvert": "|", "mid": "|", "infin": "infty", "reals": "mathbb{R}",
    "pounds": "£", "euro": "€", "textdollar": "¤",
    "backslash": "setminus", "smallsetminus": "setminus",
}  # fmt: skip
_PLAIN = {"lt", "gt", "colon", "lbrack", "rbrack", "vert", "lvert", "rvert", "mid"}
_MONEY = {"¤": "dollars", "£": "pounds", "€": "euros", "¥": "yen"}  # `¤` is `\\$`
_GONE = re.compile(
    r"\\(?:left|right)\s*\.|\\(?:left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|limits)"
    r"(?![A-Za-z])"
)
# `\\\\frac` of a text that was escaped twice; before another letter `\\\\` ends a line.
_ESCAPED_TWICE = re.compile(
    r"\\(?=\\(?:[dt]?frac|sqrt|pi|text|cdot|times|left|right|pm|infty)(?![a-z]))"
)
_SPACE = re.compile(r"(?<!\\)\\[,;:!> ]|~|\\q?quad(?![A-Za-z])|\\[hv]space\*?\{[^{}]*\}|\s+")
_THIN = r"(?:\{,\}|,?\\[,;:! ]\s*|~|\s)"
_THOUSANDS, _COMMAS = (
    re.compile(rf"(?<![\d.,])\d{{1,3}}(?:{parting}\d{{3}})+(?!\d)") for parting in (_THIN, ",")
)
_SCIENTIFIC = re.compile(r"(?<=\d)[eE]([-+]?\d{1,4})(?![\w.])")
_SHORT_FRACTION = re.compile(
    r"\\frac\s*(?:(\d)|([A-Za-z])|(\{[^{}]*\}))\s*(?:(\d)|([A-Za-z])|(?=\{))"
)
_SHORT_ROOT = re.compile(r"\\sqrt\s*(\d|[A-Za-z])")
_FONT = re.compile(r"\\(?:mathbf|mathit|mathsf|boldsymbol|bm|mathnormal)\s*\{([^{}]*)\}")
_SAID = r"\s*\{((?:[^{}]|\^\{-?\d\})*)\}"
_ROMAN = re.compile(r"\\(?:mathrm|rm|operatorname\*?)" + _SAID)
_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|textup|textsf|mbox|hbox)" + _SAID)
# A roman letter after a number, or after another unit, is a unit.
_MEASURED = re.compile(r"(?:[\d})]|\}\s*(?:/|\\cdot))(?:\s|~|\\[,;: ])*$")
_MEASURES = frozenset("mgslhLNJKVWATC")
_WARM = {"C": "celsius", "F": "fahrenheit"}
_AMONG_WORDS = re.compile(
    r"(?<![\w^.:-])\s*([-+]?[¤£€¥]?(?:\d(?:[\d,.:/]*\d)?))(?![A-Za-z])\s*(?![\d,.:/])"
)
_FUNCTIONS = {"gcd", "lcm", "log", "ln", "sin", "cos", "tan", "exp", "max", "min", "det", "arctan"}
_CIRCLE = r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))"
_DEGREES = re.compile(_CIRCLE)
_WARMTH = re.compile(
    rf"(\\(?:text|mathrm)\s*\{{\s*)?{_CIRCLE}\s*(\\(?:text|mathrm|rm)\s*\{{[\s~]*)?([CF])(?![A-Za-z])"
    r"(?(1)\s*\})(?(2)\s*\})"
)
_MINUTES = re.compile(r"(\\text\{degrees\}\s*\d+)\s*(?:'|\^\s*\{?\s*\\prime\s*\}?)(?!')")
_OF_ANGLE = re.compile(
    r"(\\(?:sin|cos|tan|cot|sec|csc)\s*(?:\^\s*\{?\d\}?\s*)?)"
    r"(\([^()]*\)|\d+(?:\.\d+)?\s*\\text\{degrees\})"
)
_ANGLE = re.compile(r"(\d+(?:\.\d+)?)\s*\\text\{degrees\}")
_ORDINAL = re.compile(r"\^\s*\{?\s*(?:\\text(?:rm|bf)?|\\mathrm)\s*\{\s*(st|nd|rd|th)\s*\}\s*\}?")
_WITHOUT = re.compile(r"(\\mathbb\s*\{?[A-Z]\}?)\s*-\s*(?=\\\{)")
_BASE = re.compile(r"\\log\s*_\s*(\d)")
_PRICE = re.compile(
    r"([¤£€¥])\s*([-+]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+|\d*\s*\\frac\{\d+\}\{\d+\})"
    r"(?:\s*\\(?:times|cdot)\s*10\s*\^\s*\{?\d+\}?)?)"
    r"(?=\s*(?:$|[,;=]|\\text|\\approx))"
)
_PRICED = re.compile(r"(?<=[\d}])\s*([¤£€¥])$")
_SIDES = re.compile(r"[(\[<>]|\\[lg]eq")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
# Words that are not in `\text`: after a number, or all that there is.
_COUNTED = re.compile(
    r"(?<=[\d}])(\s*)((?:[A-Za-z][A-Za-z.'-]*[ /]?)*[A-Za-z.]+)(?=\s*(?:$|[,;=^]|\d))"
)
_REPEATING = re.compile(r"(?<![\d.])(\d{0,9})\.(\d{0,9})\\overline\{(\d{1,9})\}")
_METRES = re.compile(r"(?<=[\d}])\s+([mgslhLN])$")
_BARE = re.compile(r"(?<![\\A-Za-z{~])(and|or)(?![A-Za-z}~])")
# `x / a \\sin t` is `(x / a) \\sin t`.
_DIVIDED = re.compile(
    r"/\s*((?:\\[A-Za-z]+|[A-Za-z])(?:_\{?\w+\}?)?)\s+(?=\\(?:sin|cos|tan|ln|log|exp|sqrt)(?![A-Za-z]))"
)
_ENDS = " \t.,;:"


def plain(text: str, *, metres: bool = False) -> str:
    """The answer in the notation read here; raises ValueError where a `$` parts it in two.

    With `metres` a single letter after a number and a space is a unit, not a factor.
    """
    text = _without_dollars(re.sub(r"\*\*(.*)\*\*", r"\1", text.strip()))
    for sign, command in _SIGNS.items():
        text = text.replace(sign, command)
    text = _GONE.sub("", _ESCAPED_TWICE.sub("", text))
    text = _COMMAND.sub(_one_name, text)
    text = _THOUSANDS.sub(lambda match: re.sub(r"\D", "", match[0]), text)
    text = text.replace("{,}", ",").replace("{:}", ":").replace("{.}", ".")
    text = _ORDINAL.sub(r"\\text{\1}", _FONT.sub(r"\1", text))
    text = _WARMTH.sub(lambda found: f"\\text{{degrees {_WARM[found[3]]}}}", text)
    text = _ROMAN.sub(_roman, text)
    text = _MINUTES.sub(r"\1\\text{arcminutes}", _DEGREES.sub(r"\\text{degrees}", text))
    text = _OF_ANGLE.sub(_radians, _BASE.sub(r"\\log_{\1}", text))
    text = re.sub(r"\\?%", r"\\text{percent}", text)
    text = _WITHOUT.sub(r"\1\\setminus ", text)
    text = _REPEATING.sub(_repeating, _SPACE.sub(" ", text))
    text = _SCIENTIFIC.sub(r"\\cdot 10^{\1}", text)
    text = _SHORT_FRACTION.sub(_fraction, _SHORT_FRACTION.sub(_fraction, text))
    text = _SHORT_ROOT.sub(r"\\sqrt{\1}", text)
    text = _DIVIDED.sub(r"\\cdot \\frac{1}{\1} ", text)
    text = _TEXT.sub(_words, text)
    text = SAID.sub(lambda found: found[0].replace(" ", "~"), text)
    text = _BARE.sub(r"\\text{\1}", text).replace("~", " ")
    text = _COUNTED.sub(_unit, text)
    if metres:
        text = _METRES.sub(r"\\text{\1}", text)
    text = _with_money(text)
    return _bare(_trimmed(text))


def without_commas(text: str) -> str:
    """The text with `1,000` read as a thousand, not as a list of 1 and 0."""
    return _COMMAS.sub(lambda match: match[0].replace(",", ""), text)


def _without_dollars(text: str) -> str:
    """Without the signs of a formula around it all; a dollar is `¤`."""
    text = re.sub(r"(?<!\\)\\\$", "¤", text)
    if text.startswith("$") and text.endswith("$") and len(text) > 1:
        text = text.strip("$")
    elif re.match(r"[-+]?\$\s*[\d.]", text):
        text = text.replace("$", "¤", 1)
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]")):
        if text.startswith(opening) and text.endswith(closing):
            text = text[2:-2]
    if "$" in text:
        raise ValueError("no single answer")
    return text


def _with_money(text: str) -> str:
    """`$5` as `5\\text{dollars}`; within brackets and inequalities the signs do not count."""
    if not _SIDES.search(text):
        text = _PRICE.sub(lambda found: f"{found[2]}\\text{{{_MONEY[found[1]]}}}", text)
        text = _PRICED.sub(lambda found: f"\\text{{{_MONEY[found[1]]}}}", text)
    return re.sub(r"[¤£€¥]\s*", "", text)


def _one_name(match: re.Match[str]) -> str:
    name = match[1]
    if name not in _ALIASES:
        return match[0]
    alias = _ALIASES[name]
    return alias + " " if name in _PLAIN or alias in _MONEY else f"\\{alias} ".replace("} ", "}")


def _roman(match: re.Match[str]) -> str:
    """`\\mathrm{e}` is a letter, `\\mathrm{cm}` a word, `\\operatorname{lcm}` a function."""
    inside = _SPACE.sub(" ", re.sub("[{}]", "", match[1])).strip()
    if len(inside) < 2:
        if inside in _MEASURES and _MEASURED.search(match.string[: match.start()][-40:]):
            return f"\\text{{{inside}}}"
        return inside
    return f"\\{inside} " if inside in _FUNCTIONS - {"lcm"} else f"\\text{{{inside}}}"


def _radians(match: re.Match[str]) -> str:
    """Degrees of a sine are a number; those of an angle are its unit."""
    return match[1] + _ANGLE.sub(r"(\\frac{\1\\pi}{180})", match[2])


def _fraction(match: re.Match[str]) -> str:
    top = match[3] or f"{{{match[1] or match[2]}}}"
    bottom = match[4] or match[5]
    return f"\\frac{top}" + (f"{{{bottom}}}" if bottom else "")


def _words(match: re.Match[str]) -> str:
    """Digits and operators in `\\text` are no words."""
    inside = " ".join(re.sub("[{}]", "", match[1]).split())
    if re.fullmatch(r"[^A-Za-z\\]*|[ei]", inside):
        return f" {inside} "
    return _AMONG_WORDS.sub(r"} \1 \\text{", f"\\text{{{inside}}}").replace("\\text{}", "")


def _repeating(match: re.Match[str]) -> str:
    """`0.1\\overline{6}` as a fraction."""
    whole, before, again = match[1] or "0", match[2], match[3]
    top = int(whole + before + again) - int(whole + before)
    return f"\\frac{{{top}}}{{{10 ** len(before) * (10 ** len(again) - 1)}}}"


def _unit(match: re.Match[str]) -> str:
    """What stands after a number, if it is a word: by its length, or as a known unit."""
    words = match[2].strip()
    longest = max(map(len, re.split(r"[\s/.]", words)))
    if ((longest > 1 or "/" in words) and is_unit(words)) or (match[1] and longest > 2):
        return f"{match[1]}\\text{{{words}}}"
    return match[0]


def _bare(text: str) -> str:
    """Without braces around it all."""
    while text.startswith("{") and text.endswith("}") and _closes_at(text) == len(text) - 1:
        text = _trimmed(text[1:-1])
    return text


def _trimmed(text: str) -> str:
    """Without spaces and the signs that end a sentence; `.5` keeps its point."""
    return text.lstrip(" \t,;:").rstrip(_ENDS)


def _closes_at(text: str) -> int:
    depth = 0
    for place, sign in enumerate(text):
        if place and text[place - 1] == "\\":
            continue
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if depth == 0:
            return place
    return -1
