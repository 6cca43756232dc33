"""The pages of questions and of what came after: every answer leads somewhere, and its numbers are computed."""

import re

import pytest
from conftest import NAN, ROOT

from deit_edu.evidence.pages import after, questions
from deit_edu.evidence.pages.pieces import markup

ASKED = (ROOT / "book" / "questions.md").read_text("utf8")
SECTIONS = re.split(r"\n## ", ASKED)[1:]
COMPUTED = (
    questions.on_cifar10,
    questions.second_token,
    questions.cosines,
    questions.student_against_teacher,
    after.answer,
    after.without_a_teacher,
    after.small_images,
)


def test_every_question_leads_to_a_page_or_shows_it_at_once():
    assert len(SECTIONS) > 24
    for section in SECTIONS:
        link = re.search(r"\]\([\w-]+\.md\)|\{ref\}`|code-cell|`deit_edu\.|`--|exercise|issue \d", section)
        assert link, section.partition("\n")[0]
        assert len(re.sub(r"```.*?```", "", section, flags=re.S).split()) < 120, section.partition("\n")[0]


@pytest.mark.parametrize("piece", COMPUTED, ids=lambda piece: f"{piece.__module__.rpartition('.')[2]}.{piece.__name__}")
def test_an_answer_has_its_numbers_and_no_verdict_that_moved(piece):
    told = markup(piece())
    assert re.search(r"\d", told) and not NAN.search(told) and "moved on" not in told


def test_the_shapes_that_the_answers_name_are_those_of_the_networks():
    """Runs the answers' own lines, which end in the shapes that their comments give."""
    place = {}
    for lines, shape in zip(
        [cell for cell in re.findall(r"```\{code-cell\} ipython3\n(.*?)```", ASKED, re.S) if "tags" not in cell],
        [(2, 192, 14, 14), (3, 196)],
        strict=True,
    ):
        *before, last = lines.strip().splitlines()
        exec("\n".join(before), place)  # noqa: S102 - our own page
        assert eval(last, place) == shape  # noqa: S307
    assert place["maps"].shape == (12, 2, 3, 198, 198)


def test_a_teachers_gain_is_the_difference_of_the_pair():
    assert after.gains()["DeiT-Ti"] == pytest.approx(74.538 - 72.190)
    assert min(after.gains().values()) > 0, "the text says that every one of them is better"
