"""The cases: one module a group, each with `measures(scene)`, a generator of `Measure`s.

A generator, so that what a group needs (a session, a folder) lives as long as its measures are taken, and no longer.
"""
