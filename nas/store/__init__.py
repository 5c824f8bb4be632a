"""The study database: tables, queries, migrations and Optuna's mirror; all of our SQLAlchemy.

`store` writes and reads, `rows` is what a query returns, `where` filters rows, `ranking` orders
them, `mirror` shows them to Optuna, many at a time by `trials`. `read_only` opens a file where
nothing can be written. Only the search's driver writes.
"""
