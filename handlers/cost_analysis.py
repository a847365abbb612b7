"""COST_ANALYSIS in; its executor is not here yet, and the answer says so."""

from handlers.registry import Handler
from schemas.request import CostAnalysis

HANDLER = Handler(command=CostAnalysis, summary="Prices the ways to serve a model.")
