"""The graders: right answers in every benchmark's form count, wrong and unclear ones do not."""

import pytest

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.scores.graders import GRADERS, VERSION, Grade

# One line each: what a benchmark's column holds, what a model may box, and something wrong.
# GSM8K's column is a worked answer, OlympiadBench's a list of texts.
ANSWERS = [
    ("She has 3 + 5 = <<3+5=8>>8.\n#### 8", "8", "3"),
    ("#### 1,250", "1250", "250"),
    ("#### -5", "-5", "5"),
    ("First \\boxed{1}, so $\\boxed{\\frac{1}{2}}$.", "1/2", "1"),  # MATH's solutions
    ("\\left( 3, \\frac{\\pi}{2} \\right)", "(3, \\pi/2)", "(\\frac{\\pi}{2}, 3)"),
    ("\\frac{3}{56}", "\\dfrac{3}{56}", "\\frac{3}{5}"),
    ("p - q", "-q + p", "q - p"),
    ("\\text{Evelyn}", "Evelyn", "\\text{Carla}"),
    ("x \\in [-2,7]", "[-2,7]", "[-2,6]"),
    ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}", "(2)"),
    ("11\\sqrt2", "11 \\sqrt{2}", "11"),
    ("90^\\circ", "90", "45^\\circ"),
    ("\\$32,500", "$32{,}500", "\\$32"),
    ("1.6e-19", "1.60 \\times 10^{-19}", "1.7e-19"),  # Minerva
    ("4.5e33", "4.5 \\times 10^{33} \\text{ erg}", "4.5e32"),
    ("3e8", "300000000", "3e7"),
    ("0.36", ".36", "36"),
    ("\\frac{1}{2} m v^2", "\\frac{m v^2}{2}", "m v^2"),
    ('["$\\\\frac{1}{2}$"]', "$\\frac{1}{2}$", "\\frac{1}{3}"),  # OlympiadBench
    ("['2, 3']", "3, 2", "2"),
    ("['$2$', '$3$']", "2, 3", "3"),
]


def of(name: str, answer: str, text: str) -> Grade:
    (grade,) = GRADERS[name][1]([{}], [answer], [text])
    return grade


def test_answers_in_every_benchmarks_form() -> None:
    texts = [f"So \\boxed{{{text}}}." for _, right, wrong in ANSWERS for text in (right, wrong)]
    golds = [gold for gold, _, _ in ANSWERS for _ in range(2)]
    metric, math = GRADERS["math"]
    grades = math([{}] * len(texts), golds, texts)
    assert metric == "exact_match"
    for (gold, right, wrong), first, second in zip(ANSWERS, grades[::2], grades[1::2], strict=True):
        assert (first.score, first.extracted) == (1, right), gold
        assert (second.score, second.extracted) == (0, wrong), gold


def test_the_column_itself_in_a_box_is_right() -> None:
    golds = [gold for gold, _, _ in ANSWERS if "<<" not in gold and not gold.startswith("[")]
    texts = [f"\\boxed{{{gold.removeprefix('#### ')}}}" for gold in golds]
    grades = GRADERS["math"][1]([{}] * len(golds), golds, texts)
    assert [gold for gold, grade in zip(golds, grades, strict=True) if grade.score != 1] == []


@pytest.mark.parametrize(
    ("text", "extracted"),
    [
        ("\\boxed{3}, no: \\boxed{4}. The answer is 5.", "4"),
        ("The final answer is $\\frac{1}{2}$. I hope it is correct.", "\\frac{1}{2}"),
        ("Final Answer: The final answer is $3! + 1$. I hope it is correct.", "3! + 1"),
        ("The answer is 7. Wait. The answer is 18.", "18"),
        ("The answer is 18", "18"),
        ("The answer is -1.5.", "-1.5"),
        ("the answer is: **18**.", "18"),
        ("The answer is $18. It was $20.", "18"),
        ("The answer is $1,250.50 per day.", "1,250.50"),
        ("The answer is 18 eggs per day.\nMore.", "18"),
        ("The answer is 3/4 of a cup.", "3/4"),
        ("The answer is \\(x + 1\\).", "x + 1"),
        ("The final answer is\n\\[\nx + 1\n\\]", "x + 1"),
        ("The answer is (C).", "(C)"),
        ("It makes 18.\n#### 18", "18"),
        ("#### $1,250.", "1,250"),
        ("The answer is 5 to 6 dollars.", "5 to 6 dollars"),
        ("The answer is 3 million dollars.", "3 million dollars"),
        ("The answer is $3$ or $4$.", "3 or 4"),
        ("#### Step 4: add", None),
        ("It is 18.", None),
        ("\\boxed{18", None),
        ("The answer is", None),
        ("", None),
    ],
)
def test_what_is_read_from_a_text(text: str, extracted: str | None) -> None:
    grade = of("math", "8128", text)
    assert (grade.score, grade.extracted) == (0, extracted)
    assert (grade.reason == "nothing extracted") == (extracted is None)


def test_a_second_guess_is_no_answer() -> None:
    for text in ("$3$ or $4$", "\\boxed{3$ $4}", "\\boxed{3 \\\\$ 4}", "3 or 4", "5 - 2"):
        assert of("math", "3", f"The answer is {text}.").score == 0, text


def test_programs() -> None:
    metric, program = GRADERS["program"]
    document = {
        "prompt": 'def double(n: int) -> int:\n    """Twice n."""\n',
        "entry_point": "double",
        "test": "def check(candidate):\n    assert [candidate(n) for n in (2, 3)] == [4, 6]\n",
    }
    texts = [
        "    return 2 * n\n",
        "",
        "    return 4\n",
        "Like so:\n```python\ndouble = lambda n: n + n\n```",
    ]
    grades = program([document] * 4, [""] * 4, texts)
    assert metric == "pass"
    assert [grade.score for grade in grades] == [1, 0, 0, 1]
    assert [grade.reason for grade in grades] == ["passed", "nothing extracted", "failed", "passed"]
    assert [grade.extracted for grade in grades] == [
        *(texts[0], None, texts[2], "double = lambda n: n + n\n")
    ]
    with pytest.raises(RecipeError, match="`prompt`, `entry_point` and `test`"):
        program([{"question": "?"}], ["4"], ["return 4"])


def test_texts_that_contain_an_answer() -> None:
    metric, contains = GRADERS["contains"]
    answers = ["['politician', 'chef d\\'État']"] * 4 + ["[an interval)"]
    texts = ["A Politician.", "It is: CHEF D'ÉTAT", "An actor", " ", "it is [An Interval)!"]
    grades = contains([{}] * 5, answers, texts)
    assert metric == "contains"
    assert [grade.score for grade in grades] == [1, 1, 0, 0, 1]
    assert [grade.extracted for grade in grades] == [*texts[:3], None, texts[4]]
    assert grades[3].reason == "nothing extracted"


def test_the_version_names_what_verdicts_depend_on() -> None:
    assert "math-verify" in VERSION
