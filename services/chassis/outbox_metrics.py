"""What the relay counts, and what is known of the outbox; every name is used by a rule or a dashboard."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

PUBLISHED: Final = Counter("kb_outbox_published_total", "Events acknowledged by the broker.", ["topic"])
PUBLISH_SECONDS: Final = Histogram(
    "kb_outbox_publish_seconds",
    "From handing a shard's rows to the producer until all are acknowledged.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5, 10),
)
WINDOW_ROWS: Final = Histogram(
    "kb_outbox_window_rows", "Rows found by one read.", buckets=(0, 1, 5, 20, 50, 100, 200, 500, 1000, 2000)
)
FENCED: Final = Counter("kb_outbox_fenced_total", "Shards that turned out to have a new owner.")
TAKEOVER: Final = Counter(
    "kb_outbox_takeover_total", "Shards taken over from a relay that let its lease run out."
)
PRODUCER_REBUILD: Final = Counter(
    "kb_outbox_producer_rebuild_total", "Producers replaced after a failed or late send.", ["reason"]
)
PARKED: Final = Counter(
    "kb_outbox_rows_parked_total", "Rows put aside: refused by the broker, or behind such a row."
)
ORDER_VIOLATION: Final = Counter(
    "kb_outbox_key_order_violation_total", "Rows whose sequence was not above the last one of their key."
)

# Asked of the tables by every process of the service, so that they outlive the relay they speak of.
OLDEST_AGE: Final = Gauge("kb_outbox_oldest_age_seconds", "Age of the oldest unpublished row.", ["part"])
DEPTH: Final = Gauge("kb_outbox_depth", "Unpublished rows, counted up to a cap.", ["part"])
WAITING: Final = Gauge("kb_outbox_parked", "Rows put aside that are neither sent nor skipped.")
WAITING_AGE: Final = Gauge("kb_outbox_parked_oldest_age_seconds", "How long the oldest of them has waited.")
LEAF_BYTES: Final = Gauge("kb_outbox_leaf_bytes", "Size of a day's leaf with its index.", ["leaf"])
CURSOR_AGE: Final = Gauge(
    "kb_outbox_cursor_age_xids", "Transactions begun since the oldest one the slowest cursor waits for."
)
