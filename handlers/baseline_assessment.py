"""BASELINE_ASSESSMENT in; its executor is not here yet, and the answer says so."""

from handlers.registry import Handler
from schemas.request import BaselineAssessment

HANDLER = Handler(command=BaselineAssessment, summary="Measures a model as it is served today.")
