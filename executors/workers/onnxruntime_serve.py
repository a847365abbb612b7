"""Serves a folder of ONNX Runtime GenAI's builder with GenAI's own engine, inside the `transformers` toolchain.

The builder's graphs for CPUs have no paged cache, so the engine schedules them in static batches: requests that come
while a batch runs wait for the next one.
"""

import json

import numpy as np
import onnxruntime_genai
from adapter import END, Inbox, Turn, main, taken

EVENTS = 64
"""Taken of the engine at a time."""


class StaticBatching:
    """One engine, its batches as wide as there are slots."""

    def __init__(self, request: dict[str, object]) -> None:
        self._most = request["slots"]
        self._context = request["context"]
        config = onnxruntime_genai.Config(request["model"])
        threads = {"decoder": {"session_options": {"intra_op_num_threads": request["threads"]}}}
        batches = {"static_batching": {"max_batch_size": self._most}}
        config.overlay(json.dumps({"model": threads, "engine": batches}))
        self._model = onnxruntime_genai.Model(config)

    def run(self, inbox: Inbox) -> None:
        """Take what waits, let the engine work, hand out what it wrote."""
        engine = onnxruntime_genai.Engine(self._model)  # it works for the thread that made it only
        events = engine.create_event_buffer(EVENTS)
        live: list[tuple[Turn, onnxruntime_genai.Request]] = []
        while True:
            live += [(turn, self._begin(engine, turn)) for turn in taken(inbox, self._most, wait=not live)]
            for event in engine.run(events):
                turn = next(turn for turn, request in live if request is event.request)
                if int(event.flags) & int(onnxruntime_genai.EngineEventFlags.TOKEN):
                    turn.tokens.put(event.token)
                if event.finish_reason != onnxruntime_genai.FinishReason.NONE:
                    turn.tokens.put(END)
                    event.request.close()
                    live = [pair for pair in live if pair[1] is not event.request]

    def _begin(self, engine: onnxruntime_genai.Engine, turn: Turn) -> onnxruntime_genai.Request:
        options = onnxruntime_genai.RequestOptions()
        options.set_max_session_tokens(self._context)
        request = engine.create_request(options=options)
        wanted = onnxruntime_genai.TurnOptions(request)
        wanted.set_do_sample(False)
        wanted.set_max_generated_tokens(turn.count)
        if turn.to_the_end:
            wanted.set_min_generated_tokens(turn.count)
        request.begin_turn(np.array(turn.prompt, np.int32), wanted)
        return request


if __name__ == "__main__":
    main(StaticBatching)
