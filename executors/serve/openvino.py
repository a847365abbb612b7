"""OpenVINO GenAI's continuous batching behind the shared adapter: a strategy and a folder in, its launch out."""

from executors.serve.engine import Engine, folder_with, rendered

ENGINE = Engine(
    name="openvino",
    toolchain="openvino-genai",
    script="openvino_serve",
    loads="openvino",
    batching="continuous",
    kv_types={"FP16": "f16", "INT8": "u8"},
    holds=folder_with("openvino_model.xml", "openvino_model.bin", "tokenizer.json"),
    wants="a folder that OpenVINO's exporter wrote",
    render=rendered,
)
