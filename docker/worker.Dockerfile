# The worker: `celery -A worker worker` with the model. CUDA comes with PyPI's torch build, so the
# node needs a driver and the NVIDIA container toolkit, nothing else.
#   docker build -f docker/worker.Dockerfile -t pneumo-worker .
FROM python:3.11.15-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY worker worker
COPY db db
COPY training training
COPY alembic alembic
RUN python -m venv /opt/pneumo \
 && /opt/pneumo/bin/pip install --no-cache-dir -c requirements.lock .

FROM python:3.11.15-slim-bookworm
LABEL org.opencontainers.image.title="pneumo worker" \
      org.opencontainers.image.version="0.2.0" \
      org.opencontainers.image.description="Reads chest radiographs with a network. For research until cleared where it is used." \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 pneumo \
 && useradd --uid 10001 --gid pneumo --no-create-home --home-dir /var/lib/pneumo pneumo \
 && install -d -o pneumo -g pneumo /var/lib/pneumo
COPY --from=build /opt/pneumo /opt/pneumo
# The slim base names no driver capabilities; without them the toolkit may leave CUDA out.
ENV PATH=/opt/pneumo/bin:$PATH \
    PNEUMO_STATE_DIR=/var/lib/pneumo \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /var/lib/pneumo
VOLUME /var/lib/pneumo
# SIGTERM is Celery's warm shutdown: running studies are finished, nothing new is taken.
STOPSIGNAL SIGTERM
# Loading torch and the model takes a while. Asking starts a Python of its own: on busy cores that took
# 8 s, hence the timeout.
HEALTHCHECK --interval=30s --timeout=25s --start-period=120s --retries=3 \
  CMD ["pneumo", "health", "worker"]
CMD ["celery", "-A", "worker", "worker", "-P", "threads", "-c", "16", "-Q", "stat,routine", "--without-gossip", "--without-mingle"]
