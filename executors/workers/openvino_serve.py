"""Serves an OpenVINO folder with OpenVINO GenAI's continuous batching, inside the `openvino-genai` toolchain."""

import numpy as np
import openvino
import openvino_genai
import openvino_genai.py_openvino_genai as native
from adapter import END, Inbox, Turn, main, taken


class ContinuousBatching:
    """One pipeline; every step decodes a token of each running turn."""

    def __init__(self, request: dict[str, object]) -> None:
        schedule = openvino_genai.SchedulerConfig()
        schedule.max_num_seqs = self._most = request["slots"]
        schedule.max_num_batched_tokens = request["batched_tokens"]
        schedule.dynamic_split_fuse = True
        schedule.enable_prefix_caching = request["prefix_caching"]
        properties = {"INFERENCE_NUM_THREADS": request["threads"], "KV_CACHE_PRECISION": request["kv_type"]}
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(request["model"], schedule, "CPU", properties)
        self._begun = 0

    def run(self, inbox: Inbox) -> None:
        """Take what waits, step, hand out what each step wrote."""
        live: list[tuple[Turn, native.GenerationHandle]] = []
        while True:
            live += [(turn, self._begin(turn)) for turn in taken(inbox, self._most - len(live), wait=not live)]
            self._pipeline.step()
            live = [(turn, handle) for turn, handle in live if self._hand_out(turn, handle)]

    def _begin(self, turn: Turn) -> native.GenerationHandle:
        config = openvino_genai.GenerationConfig()
        config.do_sample = False
        config.max_new_tokens = turn.count
        config.ignore_eos = turn.to_the_end
        self._begun += 1
        return self._pipeline.add_request(self._begun, openvino.Tensor(np.array([turn.prompt], np.int64)), config)

    def _hand_out(self, turn: Turn, handle: native.GenerationHandle) -> bool:
        """Whether the turn goes on."""
        while handle.can_read():
            for output in handle.read().values():
                for token in output.generated_ids:
                    turn.tokens.put(token)
        running = handle.get_status() == openvino_genai.GenerationStatus.RUNNING
        if turn.gone and running:
            handle.stop()
        if not running:
            turn.tokens.put(END)
        return running


if __name__ == "__main__":
    main(ContinuousBatching)
