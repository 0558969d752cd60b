"""The steps of a day. Their order: extract, validate, enrich, measure_delays, load, check, publish and summarize."""

from nyc.analysis import enrich, measure_delays
from nyc.report import publish
from nyc.source import extract
from nyc.validation import validate
from nyc.warehouse import check, load, summarize

__all__ = ["check", "enrich", "extract", "load", "measure_delays", "publish", "summarize", "validate"]
