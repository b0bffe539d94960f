"""Chassis: what every service stands on.

Owns:    outbox, outbox_shard, outbox_relay, outbox_parked, inbox, inbox_block, inbox_parked,
         idempotency_keys, reconciler_runs, operator_actions, schema_migrations (in every service's database)
Listens: nothing by itself
Tells:   whatever its service told it
Offers:  /healthz, /readyz, /metrics, /internal/health/business, /internal/operator/parked,
         /internal/operator/reconcilers
Heals:   empty_old_days, empty_old_inbox_days, forget_old_answers, alarm_idle_shards
"""
