"""The design page names a proof for each line that has one: it must be there, and no proof may be left out."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "design" / "lowering.md"
HERE = Path(__file__).parent


def proofs() -> set[str]:
    """All tests of the three dialects' lowering."""
    return {
        name
        for dialect in ("airflow", "prefect", "dagster")
        for file in (HERE / dialect).glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
    }


def test_the_page_names_every_proof_and_no_other():
    """Both ways, so that neither a renamed test nor a new one is forgotten."""
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    assert named - proofs() == set()
    assert proofs() - named == set()


def test_the_pages_links_lead_somewhere():
    """Links to files, from where the page is."""
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE.read_text()):
        assert (PAGE.parent / target).resolve().exists(), target
