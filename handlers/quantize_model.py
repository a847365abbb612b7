"""QUANTIZE_MODEL in; its executor is not here yet, and the answer says so."""

from handlers.registry import Handler
from schemas.request import QuantizeModel

HANDLER = Handler(command=QuantizeModel, summary="Compresses a model by a named method.")
