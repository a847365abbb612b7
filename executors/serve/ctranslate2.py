"""CTranslate2 behind the shared adapter: a strategy and a converted folder in, its launch out."""

from executors.serve.engine import Engine, folder_with, rendered

ENGINE = Engine(
    name="ctranslate2",
    toolchain="transformers",
    script="ctranslate2_serve",
    loads="ctranslate2",
    batching="batches that no request joins once they run: the library has no continuous batching",
    kv_types={"FP16": "as computed"},
    holds=folder_with("model.bin", "config.json", "tokenizer.json"),
    wants="a folder that CTranslate2's converter wrote",
    render=rendered,
)
