"""The chart with the values on standard input, rendered by Helm's own library; run by the `manifests` toolchain.

Prints {"documents": […]} or {"error": …}. `render_chart.py CHART RELEASE NAMESPACE`.
"""

import json
import sys

import helm_python
import yaml


def main(folder: str, release: str, namespace: str) -> None:
    """Render and print."""
    values = json.load(sys.stdin)
    try:
        with helm_python.Chart.load(folder) as chart:
            texts = chart.render(values, name=release, namespace=namespace)
    except helm_python.HelmError as error:
        json.dump({"error": str(error)}, sys.stdout)
        return
    files = {name: text for name, text in texts.items() if name.endswith(".yaml")}
    documents = [item for text in files.values() for item in yaml.safe_load_all(text) if item]
    json.dump({"documents": documents}, sys.stdout, default=str)


if __name__ == "__main__":
    main(*sys.argv[1:])
