"""What a live model's numbers are held against: public data, closed forms, simulated streams; each tolerance with its reason.

Tests of the mathematics alone stand here, without a database: drift, evidence, alarms, performance. A test of one of the
acceptance figures carries its number (`test_L08_...`). The public data is fetched by `make figures` and never committed.
"""
