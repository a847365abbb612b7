"""The commands in, published contracts out: JSON Schemas, OpenAPI 3.1 and AsyncAPI 3.0, made from the code."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from acp.subjects import Subjects
from schemas.board import Board
from schemas.capability import CapabilityMatch
from schemas.command import Command
from schemas.delegation import Handoff
from schemas.deployment import DeploymentList, DeploymentReport, RolloutOutcome
from schemas.error import ERRORS, ErrorReply
from schemas.findings import (
    ComparisonReport,
    CostReport,
    PerformanceReport,
    PredictedPerformance,
    QualityReport,
    RenderedReport,
)
from schemas.job import Accepted, JobAnswer, JobList, JobSummary, Pong
from schemas.measurement import GateDecision, LoadReport
from schemas.plan import Plan
from schemas.report import Report
from schemas.status import StatusUpdate

Document = dict[str, Any]
Commands = Mapping[str, type[Command]]
AGENT = "inference-optimization-specialist"
ANSWERS: tuple[type[BaseModel], ...] = (
    Accepted,
    Board,
    CapabilityMatch,
    ComparisonReport,
    CostReport,
    DeploymentList,
    DeploymentReport,
    ErrorReply,
    GateDecision,
    Handoff,
    JobAnswer,
    JobList,
    LoadReport,
    PerformanceReport,
    Plan,
    Pong,
    PredictedPerformance,
    QualityReport,
    RenderedReport,
    Report,
    RolloutOutcome,
    StatusUpdate,
)
PROBLEM: Document = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "commands": {"type": "array", "items": {"type": "string"}},
    },
}


def json_schemas(commands: Commands) -> dict[str, Document]:
    """A self-contained JSON Schema of every command, answer and report, by its name."""
    inputs = {cmd: commands[cmd].model_json_schema() for cmd in sorted(commands)}
    return inputs | {model.__name__: model.model_json_schema(mode="serialization") for model in ANSWERS}


def openapi(commands: Commands) -> Document:
    """The bridge, as OpenAPI 3.1."""
    components = _components(commands, "#/components/schemas/{model}")
    job: Document = {"name": "job", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    bodies = [_ref(commands[cmd]) for cmd in sorted(commands)]
    paths: Document = {
        "/acp": {
            "post": {
                "operationId": "command",
                "summary": "Send a command, or leave a status.",
                "requestBody": {"required": True, "content": {"application/json": {"schema": {"anyOf": bodies}}}},
                "responses": {"200": _json("The answer", {"type": "object"}), "202": _json("Accepted", _ref(Accepted))}
                | {"204": {"description": "A status, which is never answered"}}
                | _errors(400, 401, 403, 404, 408, 409, 413, 415, 422, 424, 429, 500, 501, 503, 504, 507, 508),
            }
        },
        "/jobs": {"get": _get("jobs", "The newest jobs.", _json("Jobs", _ref(JobList)), _errors(422), _LIST_QUERY)},
        "/jobs/{job}": {
            "get": _get("job", "One job.", _json("The job", _ref(JobSummary)), _errors(404), [job]),
            "delete": {
                "operationId": "cancel",
                "summary": "End a job.",
                "parameters": [job],
                "responses": {"202": _json("It will end", _ref(JobSummary))}
                | _errors(401, 403, 404, 409, 429, 500, 503),
            },
        },
        "/jobs/{job}/events": {"get": _get("events", "A job's updates.", _EVENTS, _errors(404), [job, _LAST_EVENT])},
        "/jobs/{job}/report": {
            "get": _get("report", "A job's report.", _REPORT, _errors(404, 409), [job, _ACCEPT]),
        },
        "/jobs/{job}/plan": {
            "get": _get("plan", "The plan a job left.", _json("Plan", _ref(Plan)), _errors(404), [job])
        },
        "/live": {"get": _get("live", "What is new, as long as it is read.", _BOARDS, {}, [_LAST_EVENT])},
        "/": {"get": _get("dashboard", "The dashboard, a page for people.", _content("The page", "text/html"), {})},
        "/healthz": {"get": _get("healthz", "The process lives.", _json("Alive", {"type": "object"}), {})},
        "/readyz": {"get": _get("readyz", "The agent answers.", _json("Ready", {"type": "object"}), _errors(507))},
        "/metrics": {"get": _get("metrics", "Prometheus metrics.", _content("Metrics", "text/plain"), {})},
        "/openapi.json": {"get": _get("openapi", "This document.", _json("OpenAPI", {"type": "object"}), {})},
    }
    return {
        "openapi": "3.1.0",
        "info": _info("HTTP bridge of the Agent Coordination Protocol"),
        "paths": paths,
        "components": {
            "schemas": components | {"Problem": PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def asyncapi(commands: Commands) -> Document:
    """The subjects on NATS, as AsyncAPI 3.0."""
    names = Subjects(AGENT)
    messages = {cmd: commands[cmd] for cmd in sorted(commands)}
    channels: Document = {
        "command": _channel(names.command, list(messages), "Micro endpoint: send a command, read its reply."),
        "inbox": _channel(names.inbox, list(messages), "Left in a stream until an agent reads it."),
        "status": _channel(
            f"acp.{AGENT}.status.{{job}}", ["StatusUpdate"], "Updates of one job, numbered by Acp-Seq.", "job"
        ),
        "answer": _channel(
            f"acp.{AGENT}.answer.{{message}}", ["ErrorReply"], "Answers to what was left in the inbox.", "message"
        ),
        "deadLetters": _channel(names.dead_letters, ["ErrorReply"], "Refused and poisonous messages, with the reason."),
        "peer": _channel("acp.{peer}.cmd", ["Handoff"], "Hand-offs to other agents.", "peer"),
    }
    operations: Document = {
        "receiveCommand": {"action": "receive", "channel": {"$ref": "#/channels/command"}},
        "readInbox": {"action": "receive", "channel": {"$ref": "#/channels/inbox"}},
        "publishStatus": {"action": "send", "channel": {"$ref": "#/channels/status"}},
        "publishAnswer": {"action": "send", "channel": {"$ref": "#/channels/answer"}},
        "publishDeadLetter": {"action": "send", "channel": {"$ref": "#/channels/deadLetters"}},
        "handOff": {"action": "send", "channel": {"$ref": "#/channels/peer"}},
    }
    known: dict[str, type[BaseModel]] = {
        **messages,
        "StatusUpdate": StatusUpdate,
        "ErrorReply": ErrorReply,
        "Handoff": Handoff,
    }
    return {
        "asyncapi": "3.0.0",
        "info": _info("NATS side of the Agent Coordination Protocol"),
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": {name: {"name": name, "payload": _ref(model)} for name, model in known.items()},
            "schemas": _components(commands, "#/components/schemas/{model}"),
        },
    }


_LIST_QUERY: list[Document] = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 500}},
    {
        "name": "state",
        "in": "query",
        "schema": {"enum": ["accepted", "running", "completed", "not_met", "failed", "cancelled"]},
    },
]
_LAST_EVENT: Document = {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}}
_ACCEPT: Document = {"name": "Accept", "in": "header", "schema": {"enum": ["text/markdown", "application/json"]}}


def _stream(description: str, event: str, number: str, record: type[BaseModel]) -> Document:
    """Server-sent events of one kind."""
    properties: Document = {
        "id": {"type": "string", "description": number},
        "event": {"const": event},
        "data": {"type": "string", "description": f"A {record.__name__}"},
    }
    schema = {"type": "object", "properties": properties}
    return {"description": description, "content": {"text/event-stream": {"schema": schema}}}


_EVENTS: Document = _stream("Updates", "status", "The update's number", StatusUpdate)
_BOARDS: Document = _stream("Boards", "board", "How far the reader has seen", Board)
_REPORT: Document = {
    "description": "Markdown or JSON",
    "content": {"text/markdown": {"schema": {"type": "string"}}, "application/json": {"schema": {"type": "object"}}},
}


def _info(title: str) -> Document:
    return {"title": f"inferwright: {title}", "version": version("inferwright"), "license": {"name": "Apache-2.0"}}


def _components(commands: Commands, template: str) -> dict[str, Document]:
    inputs = [(command, "validation") for command in commands.values()]
    outputs = [(model, "serialization") for model in (*ANSWERS, JobSummary)]
    _, schema = models_json_schema([*inputs, *outputs], ref_template=template)  # type: ignore[list-item]
    definitions: dict[str, Document] = schema["$defs"]
    return dict(sorted(definitions.items()))


def _ref(model: type[BaseModel]) -> Document:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _json(description: str, schema: Document) -> Document:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _content(description: str, kind: str) -> Document:
    return {"description": description, "content": {kind: {"schema": {"type": "string"}}}}


def _errors(*statuses: int) -> Document:
    titles = {rule.status: rule.title for rule in reversed(ERRORS.values())}
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        str(status): {
            "description": titles.get(status, "Error"),
            "content": {"application/problem+json": {"schema": schema}},
        }
        for status in statuses
    }


def _get(
    name: str, summary: str, answer: Document, errors: Document, parameters: list[Document] | None = None
) -> Document:
    responses = {"200": answer} | _errors(401, 403, 429, 500, 503) | errors
    operation: Document = {"operationId": name, "summary": summary, "responses": responses}
    return operation | ({"parameters": parameters} if parameters else {})


def _channel(address: str, messages: list[str], description: str, parameter: str | None = None) -> Document:
    channel: Document = {
        "address": address,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }
    return channel | ({"parameters": {parameter: {"description": f"The {parameter}'s id"}}} if parameter else {})
