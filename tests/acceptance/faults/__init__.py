"""Faults while clients ask: kill, fill, cut, stop; then what clients read is compared with the log.

`ledger` (what clients read, each a process), `invariants` (I1-I7: what must hold of it), `victims` (who is killed),
`chance` (seeded moments) are the harness; tests are named by their rows.
"""
