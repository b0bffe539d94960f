"""The replay: a marketplace's own order history, placed, paid and fulfilled again through the public API.

Reads:  orders and order items in the published Olist column layout (prices as decimal text, freight ignored)
Ends:   with what the history says beside what the system says, and the audit; an unusable row is listed
Run:    python -m infra.replay FOLDER
"""
