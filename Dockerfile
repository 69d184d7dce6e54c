# syntax=docker/dockerfile:1
# The emulator of Defender's live response service, for tests. See docs/emulator.md, "In a container".

FROM rust:1.89-slim-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir maturin==1.16.0
WORKDIR /source
COPY . .
RUN /opt/build/bin/maturin build --release --locked --out /wheels

FROM python:3.13-slim-bookworm
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --no-deps /wheels/*.whl \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin emulator
COPY docker/healthcheck.py /usr/local/lib/emulator-healthcheck.py
USER 10001
# In a container, what is published decides who can connect.
ENV PYTHONUNBUFFERED=1 \
    PYTHONWARNINGS="ignore:the emulator listens on:UserWarning"
# The API and the login host, and the host of the results.
EXPOSE 8899 8900
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --start-interval=1s \
    CMD ["python", "/usr/local/lib/emulator-healthcheck.py"]
ENTRYPOINT ["mde-live-response", "emulator", "--host", "0.0.0.0", "--port", "8899"]
