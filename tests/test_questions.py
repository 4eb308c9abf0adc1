"""Questions to workers have numbers, and an answer has that of its question."""

import pytest

from meshtrio.catalog.service import Service, ServicePort
from meshtrio.messages import Live
from meshtrio.questions import AskLoads, AskPick, Loads, Picked, Report
from meshtrio.worker_answers import answer
from tests.support.catalog_desk import Worker

WEB = Service("web", ports=(ServicePort("http", 80),))


@pytest.mark.parametrize(
    ("question", "kind"), [(Report(7), Live), (AskLoads(8, ()), Loads), (AskPick(9, WEB, "http"), Picked)]
)
async def test_an_answer_has_the_number_of_its_question(
    question: Report | AskLoads | AskPick, kind: type[Live | Loads | Picked]
) -> None:
    said = answer(Worker(0).site, question)
    assert (type(said), said.number) == (kind, question.number)
