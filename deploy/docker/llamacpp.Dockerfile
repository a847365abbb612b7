# llama.cpp's server at the very build that the agent measures with (toolchain `llamacpp`), on processors.
# docker build -f deploy/docker/llamacpp.Dockerfile -t inferwright-llamacpp:11549 .
# Settings come as one line of JSON on standard input, as executors/serve/llamacpp.py writes them. It listens on loopback:
# docker run -i --network host, or beside its caller in one pod. To serve a network, use the maker's image, as jobs do.
FROM docker.io/library/python:3.13-slim-bookworm
RUN pip install --no-cache-dir xllamacpp==2026.10.11549 \
    && useradd --uid 65532 --no-create-home engine
COPY executors/workers/llamacpp_serve.py /app/llamacpp_serve.py
USER 65532:65532
ENTRYPOINT ["python", "-I", "/app/llamacpp_serve.py"]
