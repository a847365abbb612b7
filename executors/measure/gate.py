"""The quality gate: paired blocks of scores in, passed, failed or undecided out. Pure; the one rule for all of it.

The loss is exp(d) - 1 with d the mean difference of negative log-likelihood, candidate minus baseline, per token. Its
interval is an asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit
theory and asymptotic confidence sequences", arXiv:2103.06476, theorem 2.2): valid at all sample sizes at once, so that
one may look after every block and stop when it is decided, without raising the chance of a false verdict.
"""

import math
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from schemas.base import Record
from schemas.measurement import GateDecision, GateVerdict, QualityMeasurement

_ = StrEnum
