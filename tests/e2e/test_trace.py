"""One order is one trace: every service and every Kafka edge, from the checkout to the order."""

from functools import partial

import pytest
import pytest_asyncio

from infra.demo.chapters import at_stage
from infra.demo.scene import Scene, eventually
from tests.support.collector import Collector, Seen
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

EDGES = [
    ("order.placed", "orders", "inventory"),
    ("stock.reserved", "inventory", "orders"),
    ("stock.reserved", "inventory", "payments"),
    ("payment.opened", "payments", "orders"),
    ("payment.verified", "payments", "orders"),
    ("order.finalized", "orders", "inventory"),
    ("order.finalized", "orders", "payments"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def spans(scene: Scene, collector: Collector) -> list[Seen]:
    """The spans of one paid order, once its last edge has been exported."""
    _, sku = await scene.goods("traced", price_paisa=55_500, stock=1)
    buyer = scene.customer()
    await buyer.wants(sku)
    checkout = await buyer.check_out()
    await scene.pay(checkout)
    await eventually(partial(buyer.checkout, checkout["id"]), at_stage("confirmed"), "confirmed")

    async def all_there() -> list[Seen]:
        """Every process exports in its own time: complete once hearers, gateway and relays have."""
        found = collector.with_attribute("kb.order.id", checkout["id"])
        heard = {(span.name, span.service) for span in found}
        if not {(f"process {topic}", hearer) for topic, _, hearer in EDGES} <= heard:
            return []
        trace = collector.trace(found[0].trace_id)
        exported = "gateway" in {span.service for span in trace} and created(trace) <= sent(collector)
        return trace if exported else []

    return await until(all_there, within_s=30, what="every hearer's span")


async def test_one_trace_holds_every_service(spans: list[Seen]) -> None:
    assert {span.service for span in spans} == {"gateway", "orders", "inventory", "payments"}


async def test_every_span_about_the_order_is_in_that_trace(spans: list[Seen], collector: Collector) -> None:
    order_id = next(span.attributes["kb.order.id"] for span in spans if "kb.order.id" in span.attributes)
    assert {span.trace_id for span in collector.with_attribute("kb.order.id", order_id)} == {
        spans[0].trace_id
    }


@pytest.mark.parametrize(("topic", "teller", "hearer"), EDGES)
async def test_every_edge_is_told_and_heard(spans: list[Seen], topic: str, teller: str, hearer: str) -> None:
    told = {span.span_id: span for span in spans if (span.name, span.service) == (f"create {topic}", teller)}
    heard = [span for span in spans if (span.name, span.service) == (f"process {topic}", hearer)]
    assert len(told) == 1
    assert [span.parent_id in told for span in heard] == [True]
    assert heard[0].links, "the batch it was handled in"


async def test_the_relay_links_what_it_sent(spans: list[Seen], collector: Collector) -> None:
    assert created(spans) <= sent(collector)


def created(spans: list[Seen]) -> set[str]:
    return {span.span_id for span in spans if span.name.startswith("create ")}


def sent(collector: Collector) -> set[str]:
    """What the relays' spans link to."""
    return {link for span in collector.spans if span.name.startswith("send") for link in span.links}


async def test_no_span_carries_anything_personal(spans: list[Seen]) -> None:
    said = " ".join(f"{span.name} {value}" for span in spans for value in span.attributes.values())
    assert "Sita" not in said
    assert "9800000001" not in said
    assert "?" not in said, "a query string"
