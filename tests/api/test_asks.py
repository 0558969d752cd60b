"""`ask` as users see it: a run waits for a person's input, which has to fit."""

from datetime import date
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, field_validator

from plait import ParameterError, Retry, UsageError, WaitTimeout, answer, ask, dag, flow, task
from plait.engine.asks import questions
from plait.model.ids import RunId
from plait.runtime.session import Session
from tests.api.helpers import Tally
from tests.api.waiting import asked, in_background, until

pytestmark = pytest.mark.usefixtures("session")


class Approval(BaseModel):
    """What an approver says."""

    approved: bool
    amount: int = Field(ge=0)

    @field_validator("amount")
    @classmethod
    def even(cls, amount: int) -> int:
        """No JSON Schema knows of this."""
        if amount % 2:
            raise ValueError("only even amounts")
        return amount


@pytest.mark.parametrize("where", ["task", "flow"])
def test_a_question_is_answered_with_what_fits(where: str, session: Session):
    @flow
    def by_flow():
        return ask(Approval, "Pay?")

    @task(name="ask")
    def by_task():
        return ask(Approval, "Pay?")

    @dag
    def in_dag():
        return by_task()

    result = in_background(by_flow if where == "flow" else in_dag)
    run_id = asked(session)
    (question,) = questions(session.store.tasks(RunId(run_id)))
    assert (question.task, question.asked.prompt) == ("ask", "Pay?")
    for value, told in [
        ({"approved": True}, "the answer: 'amount' is a required property"),
        ({"approved": True, "amount": "many"}, "amount: 'many' is not of type 'integer'"),
        ({"approved": True, "amount": -1}, "amount: -1 is less than the minimum of 0"),
    ]:
        with pytest.raises(ParameterError, match=told):
            answer(run_id, value)
    answer(run_id, {"approved": True, "amount": 3})
    again = until(lambda: next(iter(q for q in questions(session.store.tasks(RunId(run_id))) if q != question), None))
    assert again.asked.prompt == "Pay? (the last answer was refused: amount: Value error, only even amounts)"
    answer(run_id, {"approved": True, "amount": 4})
    assert result() == Approval(approved=True, amount=4)
    with pytest.raises(UsageError, match="asks nothing at the moment"):
        answer(run_id, {"approved": True, "amount": 4})


@pytest.mark.parametrize(
    ("kind", "wrong", "right", "value"),
    [
        (bool, "yes", True, True),
        (Literal["go", "stop"], "wait", "go", "go"),
        (date, "soon", "2024-02-01", date(2024, 2, 1)),
        ({"type": "array", "items": {"type": "integer"}}, [1, "2"], [1, 2], [1, 2]),
    ],
)
def test_a_question_may_be_of_any_type(kind: Any, wrong: Any, right: Any, value: Any, session: Session):
    @flow
    def asks():
        return ask(kind, "Well?")

    result = in_background(asks)
    run_id = asked(session)
    with pytest.raises(ParameterError, match="the answer does not fit"):
        answer(run_id, wrong)
    answer(run_id, right)
    assert result() == value


@pytest.mark.parametrize("where", ["task", "flow"])
def test_a_question_that_nobody_answers(where: str, session: Session):
    def body() -> str:
        try:
            ask(bool, "Pay?", timeout=0.05, name="pay")
        except WaitTimeout as error:
            return str(error)
        return ""

    @dag
    def in_dag():
        return task(body, name="body")()

    assert (in_dag if where == "task" else flow(body))() == "nobody has answered 'pay' within 0.05 s"


def test_a_retry_does_not_ask_again(session: Session):
    tally = Tally()

    @task(retries=Retry(2))
    def pays() -> int:
        amount = ask(int, "How much?")
        if tally.add("paid") < 3:
            raise OSError("the bank is closed")
        return amount

    @dag
    def one():
        return pays()

    result = in_background(one)
    answer(asked(session), 5)
    assert result() == 5
    assert tally["paid"] == 3


def test_several_questions_at_once_have_names(session: Session):
    @task
    def asks(name: str) -> str:
        return ask(str, f"Who is {name}?")

    @dag
    def two():
        return [asks.options(name="first")("a"), asks.options(name="second")("b")]

    result = in_background(two)
    run_id = asked(session)
    until(lambda: len(questions(session.store.tasks(RunId(run_id)))) == 2)
    with pytest.raises(UsageError, match=r"(?s)asks several things.*first   # Who is a\?.*second   # Who is b\?"):
        answer(run_id, "x")
    with pytest.raises(UsageError, match=r"(?s)has no question 'third'.*second   # Who is b\?"):
        answer(run_id, "x", task="third")
    answer(run_id, "B", task="second")
    answer(run_id, "A", task="first")
    assert result() == ["A", "B"]
