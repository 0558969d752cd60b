"""The steps of a day, in order: extract, validate, enrich, measure_delays, load, check, draw, publish, summarize."""

from nyc.analysis import enrich, measure_delays
from nyc.report import draw, publish
from nyc.source import extract
from nyc.validation import validate
from nyc.warehouse import check, load, summarize

__all__ = ["check", "draw", "enrich", "extract", "load", "measure_delays", "publish", "summarize", "validate"]
