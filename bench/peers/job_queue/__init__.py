"""The replaced design: one database, one job per order, workers that skip each other's locks."""
