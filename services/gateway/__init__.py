"""Gateway: one address for frontends, in front of all services.

Owns:    nothing
Listens: order.state, payment.opened (as hints, without a consumer group)
Tells:   nothing
Offers:  /v1 for customers, vendors, browsers and admins
Heals:   nothing
"""
