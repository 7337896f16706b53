# Listener, relay, watched folder and migrations: no network, no GPU. They import neither torch nor a pixel decoder
# (tests/unit/test_docker.py), so the image holds what docker/services-requirements names and nothing
# else, and then pneumo itself without its dependencies: a quarter of a gigabyte instead of several.
#   docker build -f docker/services.Dockerfile -t pneumo-services .
FROM python:3.11.15-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE docker/services-requirements ./
COPY worker worker
COPY db db
COPY training training
COPY alembic alembic
RUN python -m venv /opt/pneumo \
 && /opt/pneumo/bin/pip install --no-cache-dir -c requirements.lock -r services-requirements \
 && /opt/pneumo/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11.15-slim-bookworm
LABEL org.opencontainers.image.title="pneumo services" \
      org.opencontainers.image.version="0.2.0" \
      org.opencontainers.image.description="DICOM listener, relay, watched folder and migrations of pneumo." \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 pneumo \
 && useradd --uid 10001 --gid pneumo --no-create-home --home-dir /var/lib/pneumo pneumo \
 && install -d -o pneumo -g pneumo /var/lib/pneumo
COPY --from=build /opt/pneumo /opt/pneumo
ENV PATH=/opt/pneumo/bin:$PATH \
    PNEUMO_STATE_DIR=/var/lib/pneumo \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/pneumo
VOLUME /var/lib/pneumo
STOPSIGNAL SIGTERM
CMD ["pneumo", "--help"]
