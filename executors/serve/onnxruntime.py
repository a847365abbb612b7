"""ONNX Runtime GenAI's engine behind the shared adapter: a strategy and a folder of its builder in, its launch out."""

from executors.serve.engine import Engine, folder_with, rendered

ENGINE = Engine(
    name="onnxruntime",
    toolchain="transformers",
    script="onnxruntime_serve",
    loads="onnxruntime-genai",
    batching="batches that no request joins once they run: the builder's graphs for CPUs have no paged cache",
    kv_types={"FP16": "as built"},
    holds=folder_with("genai_config.json", "*.onnx", "tokenizer.json"),
    wants="a folder that ONNX Runtime GenAI's builder wrote",
    render=rendered,
)
