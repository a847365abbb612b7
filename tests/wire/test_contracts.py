import re
from pathlib import Path

import jsonschema_rs
import orjson
import pytest
import yaml

from cli.contracts import contracts

PUBLISHED = Path(__file__).parents[2] / "docs" / "contracts"


def test_the_published_contracts_are_current() -> None:
    """What docs/contracts holds is what the code says today; `make docs` writes it again."""
    fresh = contracts()
    published = {str(file.relative_to(PUBLISHED)) for file in PUBLISHED.rglob("*.*")}

    assert published == set(fresh)
    assert [name for name, text in fresh.items() if (PUBLISHED / name).read_text() != text] == []


@pytest.mark.parametrize("name", ["openapi.json", "asyncapi.yaml"])
def test_every_reference_in_a_contract_leads_somewhere(name: str) -> None:
    """No `$ref` points to what is not there."""
    document = yaml.safe_load(contracts()[name])

    def references(value: object) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [found for item in value.values() for found in references(item)]
        return [found for item in value for found in references(item)] if isinstance(value, list) else []

    for reference in set(references(document)):
        target = document
        for part in reference.removeprefix("#/").split("/"):
            assert part in target, reference
            target = target[part]


def test_asyncapi_says_where_every_message_goes() -> None:
    """Operations send or receive on a channel; addresses declare their parameters; payloads are valid JSON Schema.

    `npx @asyncapi/cli validate docs/contracts/asyncapi.yaml` checks the rest of the specification; it needs Node.
    """
    document = yaml.safe_load(contracts()["asyncapi.yaml"])

    assert document["asyncapi"] == "3.0.0"
    for operation in document["operations"].values():
        assert operation["action"] in {"send", "receive"}
        assert operation["channel"]["$ref"].removeprefix("#/channels/") in document["channels"]
    for channel in document["channels"].values():
        assert set(re.findall(r"{(\w+)}", channel["address"])) == set(channel.get("parameters", {}))
        assert channel["messages"]
    for message in document["components"]["messages"].values():
        assert message["payload"]["$ref"].removeprefix("#/components/schemas/") in document["components"]["schemas"]
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)


def test_command_schemas_accept_the_dialects() -> None:
    """A published schema says that quantities may be numbers or strings."""
    schema = orjson.loads(contracts()["schemas/COST_ANALYSIS.json"])

    kinds = {kind.get("type") for kind in schema["$defs"]["Constraints"]["properties"]["max_quality_loss"]["anyOf"]}
    assert kinds == {"number", "string"}
