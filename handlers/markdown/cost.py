"""A cost report as a person reads it: the cheapest first, every figure with where its price is from."""

from handlers.markdown.sections import assumed
from handlers.markdown.text import figure, table
from schemas.findings import CostReport
from schemas.text import escape


def cost_markdown(report: CostReport) -> str:
    """The whole page."""
    rows = (
        (
            escape(option.kind),
            escape(option.strategy),
            figure(option.monthly, evidence=False),
            figure(option.per_1k_requests) if option.per_1k_requests else "no rate known",
            figure(option.per_1m_tokens) if option.per_1m_tokens else "no rate known",
            figure(option.total_12_months, evidence=False),
            figure(option.total_36_months, evidence=False),
            escape(option.source),
        )
        for option in report.options
    )
    header = (
        "paid",
        "strategy",
        "a month",
        "per 1,000 requests",
        "per million output tokens",
        "12 months",
        "36 months",
        "price from",
    )
    head = f"# What {escape(report.model)} costs\n\n**{escape(report.sentence, 600)}**\n\n"
    return head + (f"{table(header, rows)}\n" if report.options else "") + assumed(report.assumptions)
