# The agent, with HAProxy for its own gateway. Build from the project's root:
# docker build -f deploy/docker/agent.Dockerfile -t inferwright-agent:0.1.0 .
# Toolchains are not in it: they are made on the volume /data/cache when they are first needed.
FROM docker.io/library/python:3.13-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY schemas schemas
COPY planners planners
COPY executors executors
COPY acp acp
COPY handlers handlers
COPY cli cli
RUN python -m venv /opt/inferwright \
    && /opt/inferwright/bin/pip install --no-cache-dir --constraint requirements.lock '.[plots,deploy]'

FROM docker.io/library/python:3.13-slim-bookworm
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends --yes haproxy \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 65532 --create-home --home-dir /data inferwright
COPY --from=build /opt/inferwright /opt/inferwright
ENV PATH=/opt/inferwright/bin:$PATH INFERWRIGHT_CACHE=/data/cache
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 8787
ENTRYPOINT ["inferwright"]
CMD ["serve", "--help"]
