"""What the plugin needs of this package before a gate is judged. Nothing in here loads numpy, scipy or torch."""

from pytest_ftgate.errors import FtgateError, Unusable
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.files.shared_folder import make_shared
from pytest_ftgate.report.watch import say, watching
from pytest_ftgate.run.controller import Controller
from pytest_ftgate.run.session import INTERNAL, load_for_collection, open_session, status_without_session

__all__ = [
    "INTERNAL",
    "Controller",
    "FtgateError",
    "InputError",
    "Unusable",
    "load_for_collection",
    "make_shared",
    "open_session",
    "say",
    "status_without_session",
    "watching",
]
