"""Partitions as numbers: keys and their ordinals, sets of ordinals as ranges, mappings as maths on ranges.

Theory of operation. Each kind of partitions is a *space*, which numbers its keys (`spaces`): windows by counting the
times of their cron expression (`ticks`), names by their place, several dimensions by both. Nothing is listed for that:
an ordinal is found from a key, and a key from an ordinal, by arithmetic and a search. A set of partitions is a
`KeySet`: sorted ranges of ordinals, so a year of days is two numbers, whatever is done with it. A mapping (`mappings`)
turns such a set of one asset into that of another one, range by range. So the work grows with the ranges, not with the
partitions.
"""
