"""The demo: a story told by the running system, which comes true or fails.

Shows:  an order of three vendors, a closed tab, a stock-out, a service killed between payment and order
Run:    python -m infra.demo
"""
