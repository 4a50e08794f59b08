"""What the plugin needs of this package where gates are judged: behind it stand numpy and scipy."""

from pytest_ftgate.gates.overlap import Overlaps
from pytest_ftgate.report.terminal import explain
from pytest_ftgate.report.watch import progress_for
from pytest_ftgate.run.judged import judge, properties, refuse_xfail
from pytest_ftgate.run.own_tests import marked_sets, results_of
from pytest_ftgate.run.selected_gates import before, run_stage

__all__ = [
    "Overlaps",
    "before",
    "explain",
    "judge",
    "marked_sets",
    "progress_for",
    "properties",
    "refuse_xfail",
    "results_of",
    "run_stage",
]
