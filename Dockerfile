# Trains on TPU nodes of GKE: `codepmp` is on the PATH.
#
#   docker build -t REGION-docker.pkg.dev/PROJECT/REPOSITORY/codepmp_jax:TAG .
#   docker push REGION-docker.pkg.dev/PROJECT/REPOSITORY/codepmp_jax:TAG
FROM python:3.11 AS installed

COPY . /opt/codepmp_jax
# Some dependencies are compiled, and slim images have no compiler. One script installs images and machines. For GPUs:
# --build-arg EXTRAS=cuda,gcs
ARG EXTRAS=tpu,gcs
RUN CODEPMP_EXTRAS=$EXTRAS UV_NO_CACHE=1 PIP_NO_CACHE_DIR=1 bash /opt/codepmp_jax/launch/setup_host.sh

FROM python:3.11-slim
COPY --from=installed /opt/codepmp_jax /opt/codepmp_jax
ENV PATH="/opt/codepmp_jax/.venv/bin:$PATH"
# Lines appear in the log when they are printed.
ENV PYTHONUNBUFFERED=1
WORKDIR /opt/codepmp_jax
