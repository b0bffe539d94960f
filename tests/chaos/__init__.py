"""The nemesis: breaks a running system on a schedule while people shop, then checks what became of them.

Run:  make chaos SEED=1 MINUTES=10
"""
