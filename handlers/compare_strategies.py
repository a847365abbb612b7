"""COMPARE_STRATEGIES in; its executor is not here yet, and the answer says so."""

from handlers.registry import Handler
from schemas.request import CompareStrategies

HANDLER = Handler(command=CompareStrategies, summary="Sets strategies side by side.")
