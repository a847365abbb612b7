"""EVALUATE_QUALITY in; its executor is not here yet, and the answer says so."""

from handlers.registry import Handler
from schemas.request import EvaluateQuality

HANDLER = Handler(command=EvaluateQuality, summary="Scores a candidate against its baseline.")
