"""Payments: from held stock to proven money, and back to the payer where it must.

Owns:    intents, attempts, gateway_observations, charges, allocations, refunds, review_cases, payment_items
Listens: stock.reserved, order.finalized, order.cancelled, item.cancelled, item.fulfilled
Tells:   payment.opened, payment.returned, payment.declined, payment.verified, payment.failed, payment.held,
         payment.refunded
Offers:  GET /internal/intents/{subject_id}, POST /v1/checkouts/{id}/attempts,
         GET /v1/payments/return/{provider}/{reference},
         GET /v1/admin/payments/refunds, POST /v1/admin/payments/refunds/{id}/complete,
         GET /v1/admin/payments/cases, POST /v1/admin/payments/cases/{id}/refund,
         POST /v1/admin/payments/cases/{id}/uphold, POST /v1/admin/payments/attempts/{id}/verify
Heals:   close_windows, alarm_unanswered, open_unanswered_cases, wake_forgotten_attempts,
         alarm_unchecked_attempts, alarm_waiting_refunds, alarm_open_cases
"""
