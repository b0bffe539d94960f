"""The control face: rules fire where and as often as ordered, and nonsense is refused by name."""

import httpx2
import pytest

from tests.fakes.esewa import Profile, RefusedError, Simulator
from tests.fakes.esewa.faults import Http
from tests.fakes.esewa.forms import a_form
from tests.integration.fakes.esewa.conftest import Shop

STATUS = {"match": {"op": "status"}, "fault": {"kind": "http"}}


async def failures(shop: Shop, reference: str, polls: int) -> list[bool]:
    return [(await shop.status(reference)).status_code != 200 for _ in range(polls)]


async def test_a_rule_fires_as_often_as_ordered(shop: Shop) -> None:
    await shop.simulator.faults(Http(), op="status", times=2)
    assert await failures(shop, "ref-1", 4) == [True, True, False, False]


async def test_a_rule_waits_for_its_turn(shop: Shop) -> None:
    await shop.simulator.faults(Http(), op="status", nth=3)
    assert await failures(shop, "ref-1", 5) == [False, False, True, False, False]


async def test_a_rule_is_about_one_reference(shop: Shop) -> None:
    await shop.simulator.faults(Http(), op="status", ref="ref-1", times=None)
    assert await failures(shop, "ref-2", 2) == [False, False]
    assert await failures(shop, "ref-1", 2) == [True, True]


async def test_a_rule_is_about_one_operation(shop: Shop) -> None:
    await shop.simulator.faults(Http(), op="form", times=None)
    assert await failures(shop, "ref-1", 1) == [False]


async def test_the_same_seed_gives_the_same_bad_luck(shop: Shop) -> None:
    luck = []
    for _ in range(2):
        await shop.simulator.faults(Http(), op="status", times=None, probability=0.5, seed=7)
        luck.append(await failures(shop, "ref-1", 20))
        await shop.simulator.clear_faults()
    assert luck[0] == luck[1]
    assert set(luck[0]) == {True, False}


async def test_rules_in_force_tell_what_they_did(shop: Shop) -> None:
    number = await shop.simulator.faults(Http(status=502), op="status", times=2)
    await failures(shop, "ref-1", 3)
    [rule] = await shop.simulator.standing_faults()
    assert (rule["id"], rule["matched"], rule["fired"], rule["fault"]["status"]) == (number, 3, 2, 502)


async def test_one_rule_is_withdrawn_and_no_other(shop: Shop) -> None:
    first = await shop.simulator.faults(Http(status=502), op="status", times=None)
    second = await shop.simulator.faults(Http(status=503), op="status", times=None)
    await failures(shop, "ref-1", 3)
    assert await shop.simulator.withdraw_fault(first) == 3
    assert [rule["id"] for rule in await shop.simulator.standing_faults()] == [second]
    with pytest.raises(RefusedError, match="404"):
        await shop.simulator.withdraw_fault(first)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("faults", {"match": {"op": "refund"}, "fault": {"kind": "http"}}, ["body", "match", "op"]),
        (
            "faults",
            {"match": {"gateway": "bank", "op": "form"}, "fault": {"kind": "http"}},
            ["body", "match", "gateway"],
        ),
        ("faults", {"fault": {"kind": "http"}}, ["body", "match"]),
        ("faults", {"match": {"op": "status"}, "fault": {"kind": "gremlin"}}, ["body", "fault"]),
        (
            "faults",
            {"match": {"op": "status"}, "fault": {"kind": "delay"}},
            ["body", "fault", "delay", "seconds"],
        ),
        (
            "faults",
            {"match": {"op": "status"}, "fault": {"kind": "http", "status": 42}},
            ["body", "fault", "http", "status"],
        ),
        (
            "faults",
            {"match": {"op": "status"}, "fault": {"kind": "http", "colour": "red"}},
            ["body", "fault", "http", "colour"],
        ),
        ("faults", {"match": {"op": "form"}, "fault": {"kind": "lag"}}, ["body"]),
        ("faults", STATUS | {"times": 0}, ["body", "times"]),
        ("faults", STATUS | {"probability": 2}, ["body", "probability"]),
        ("clock", {"advance_s": -1}, ["body", "advance_s"]),
        ("clock", {"advance_s": "soon"}, ["body", "advance_s"]),
        ("clock", {}, ["body", "advance_s"]),
        ("profile", {"comma_amounts": "yes"}, ["body", "comma_amounts"]),
        ("profile", {"comas": True}, ["body", "comas"]),
        ("outage", {"seconds": 0}, ["body", "seconds"]),
        ("payments/ref-1", {"status": "PAID"}, ["body", "status"]),
        ("payments/ref-1", {"status": "PARTIALLY_REFUNDED"}, ["body", "refunded_paisa"]),
        (
            "payments/ref-1",
            {"status": "PARTIALLY_REFUNDED", "refunded_paisa": 11_000},
            ["body", "refunded_paisa"],
        ),
        ("returns/ref-1", {"times": 0}, ["body", "times"]),
        ("returns/ref-1", {"shape": {"to": "moon"}}, ["body", "shape", "to"]),
        ("reset", {"profile": {"session_ttl_s": 0}}, ["body", "profile", "session_ttl_s"]),
    ],
)
async def test_nonsense_is_refused_by_name(
    simulator: Simulator, http: httpx2.AsyncClient, path: str, body: object, field: list[str]
) -> None:
    await simulator.pay(simulator.form_url, a_form("ref-1"), follow_return=False)
    answer = await http.post(f"{simulator.control_url}/_sim/{path}", json=body)
    assert answer.status_code == 422
    assert [error["loc"] for error in answer.json()["detail"]] == [field]
    assert [row.status for row in await simulator.truth()] == ["PAID"]


async def test_a_body_that_is_no_json_is_refused(simulator: Simulator, http: httpx2.AsyncClient) -> None:
    answer = await http.post(f"{simulator.control_url}/_sim/faults", content=b"{")
    assert answer.status_code == 422


async def test_only_money_that_moved_can_be_moved(simulator: Simulator) -> None:
    await simulator.cancel(simulator.form_url, a_form("ref-1"), follow_return=False)
    for reference, status in (("ref-1", 409), ("unknown", 404)):
        with pytest.raises(RefusedError) as refused:
            await simulator.move(reference, "REFUNDED")
        assert refused.value.status == status


async def test_the_truth_is_one_document_and_any_number_of_lines(
    simulator: Simulator, http: httpx2.AsyncClient
) -> None:
    url = f"{simulator.control_url}/_sim/truth"
    assert (await http.get(url)).json() == {"payments": []}
    for number in range(1_003):
        await simulator.pay(simulator.form_url, a_form(f"ref-{number}"), follow_return=False)
    document = (await http.get(url)).json()["payments"]
    assert [row["reference"] for row in document] == [f"ref-{number}" for number in range(1_003)]
    assert len(await simulator.truth()) == 1_003
    assert [row.reference for row in await simulator.truth("ref-7")] == ["ref-7"]


async def test_the_log_tells_what_was_asked(shop: Shop) -> None:
    page = await shop.simulator.submit(shop.simulator.form_url, a_form("ref-1"))
    await shop.status("ref-1", "109")
    await shop.simulator.faults(Http(), op="status")
    await shop.status("ref-2")
    await shop.simulator.finish(page, "pay", follow_return=False)
    seen = [(one.operation, one.reference, one.total_amount, one.fault) for one in await shop.simulator.log()]
    assert seen == [
        ("form", "ref-1", "110", None),
        ("status", "ref-1", "109", None),
        ("status", "ref-2", "110", "http"),
        ("pay", "ref-1", "110", None),
    ]
    assert [one.number for one in await shop.simulator.log(operation="status", reference="ref-1")] == [2]
    assert [one.operation for one in await shop.simulator.log(after=3)] == ["pay"]


async def test_a_reset_makes_a_new_world_that_never_repeats_a_code(shop: Shop) -> None:
    simulator = shop.simulator
    before = await simulator.pay(simulator.form_url, a_form("ref-1"), follow_return=False)
    await simulator.faults(Http(), op="status", times=None)
    advanced = await simulator.clock(advance_s=86_400)
    await simulator.reset(Profile(comma_amounts=True))
    assert (await simulator.truth(), await simulator.log(), await simulator.standing_faults()) == ([], [], [])
    assert await simulator.clock() < advanced
    assert await simulator.profile() == Profile(comma_amounts=True)
    after = await simulator.pay(simulator.form_url, a_form("ref-1"), follow_return=False)
    assert before.ref_id != after.ref_id
    assert await failures(shop, "ref-1", 1) == [False]


async def test_a_switch_that_is_not_named_stays(simulator: Simulator) -> None:
    await simulator.profile(comma_amounts=True)
    assert await simulator.profile(session_ttl_s=60) == Profile(comma_amounts=True, session_ttl_s=60)


async def test_control_answers_its_health(simulator: Simulator, http: httpx2.AsyncClient) -> None:
    assert (await http.get(f"{simulator.control_url}/healthz")).json() == {"status": "ok"}
