"""The flights that left New York in 2013, one day at a time: plain functions, which know nothing of plait.

    extract -> validate -> enrich -> measure_delays -> load -> check -> draw -> publish; summarize

`nyc.steps` lists them; each module holds what would change for one reason. What they write goes below `nyc.places`.
pandas, DuckDB and matplotlib are imported by the functions that need them, not by the modules: a file that only
declares a workflow over these functions loads in milliseconds.
"""
