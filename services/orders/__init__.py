"""Orders: from a cart through a paid checkout to a delivered parcel.

Owns:    cart_lines, checkouts, delivery_addresses, orders, order_items, checkout_history, order_history,
         item_history, switches
Listens: stock.reserved, stock.rejected, payment.opened, payment.returned, payment.declined, payment.failed,
         payment.verified, payment.held, payment.refunded, item.shipped, item.fulfilled, item.cancelled
Tells:   order.placed, order.expired, order.revived, order.finalized, order.cancelled, order.delivered,
         item.shipped, item.fulfilled, item.cancelled, order.state
Offers:  GET /v1/cart, PUT /v1/cart/items/{sku}, DELETE /v1/cart/items/{sku}, POST /v1/checkouts,
         GET /v1/checkouts/{id}, POST /v1/checkouts/{id}/cancel, GET /v1/orders, GET /v1/orders/{id},
         POST /v1/orders/{id}/items/{item_id}/cancel, GET /v1/vendor/items,
         POST /v1/vendor/items/{id}/status, GET /v1/admin/orders
Heals:   cancel_unreserved, expire_unpaid, expire_unconfirmed_phones, release_long_reviews,
         refund_unprocessed, expire_cart_lines, repair_rollups, alarm_paid_unreserved, alarm_unrefunded
"""
