# Two images: `validator` has what the daemon needs, `tools` has everything, the local subnet included.
#
#   docker build --target validator --build-arg COMMIT="$(git rev-parse HEAD)" -t gaia-validator .
#
# Written for the BuildKit of Docker Engine 20.10 and newer. It has no `# syntax` line, so no frontend is fetched.

ARG PYTHON_IMAGE=python:3.12-slim-bookworm
# The same Python with binutils, for `strip` and `ld`. Nothing of it is in the images.
ARG BUILD_IMAGE=python:3.12-bookworm

# ---- libraries: an environment from hashed locks ----------------------------------------------------------------
FROM ${BUILD_IMAGE} AS libraries
WORKDIR /src
COPY requirements/installer.lock requirements/build.lock requirements/runtime.lock requirements/
RUN --mount=type=cache,target=/var/cache/uv \
    python -m venv /opt/installer \
    && /opt/installer/bin/python -m pip install --no-cache-dir --require-hashes \
        -r requirements/installer.lock -r requirements/build.lock \
    && python -m venv --without-pip /opt/gaia \
    && /opt/installer/bin/uv pip install --cache-dir /var/cache/uv --link-mode copy --python /opt/gaia/bin/python \
        --require-hashes \
        -r requirements/runtime.lock
COPY deploy/docker/image_parts.py deploy/docker/

# ---- project: its wheel, and the kernel's machine code ----------------------------------------------------------
FROM libraries AS project
COPY pyproject.toml README.md LICENSE ./
COPY gaia gaia
COPY scripts/generate/kernel_library.py scripts/generate/
RUN /opt/installer/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --no-index \
        --wheel-dir /out . \
    && /opt/gaia/bin/python scripts/generate/kernel_library.py --folder /out/kernel_library

# ---- slim: libraries without what the daemon never loads, and the project ---------------------------------------
FROM libraries AS slim
RUN python deploy/docker/image_parts.py slim /opt/gaia
RUN --mount=type=bind,from=project,source=/out,target=/out \
    /opt/installer/bin/uv pip install --link-mode copy --no-deps --no-index --python /opt/gaia/bin/python /out/*.whl \
    && python deploy/docker/image_parts.py finish --kernel /out/kernel_library --daemon-only /opt/gaia
ARG COMMIT=""
RUN python deploy/docker/image_parts.py stamp --commit "${COMMIT}" /opt/gaia

# ---- whole: all libraries, and the project ----------------------------------------------------------------------
FROM libraries AS whole
RUN python deploy/docker/image_parts.py compile /opt/gaia
RUN --mount=type=bind,from=project,source=/out,target=/out \
    /opt/installer/bin/uv pip install --link-mode copy --no-deps --no-index --python /opt/gaia/bin/python /out/*.whl \
    && python deploy/docker/image_parts.py finish --kernel /out/kernel_library /opt/gaia
ARG COMMIT=""
RUN python deploy/docker/image_parts.py stamp --commit "${COMMIT}" /opt/gaia

# ---- base: user, folders, health check --------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS base
RUN groupadd --gid 10001 gaia \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/gaia --shell /usr/sbin/nologin gaia \
    && install --directory --owner 10001 --group 10001 --mode 0700 \
        /etc/gaia /var/lib/gaia /var/log/gaia /var/cache/gaia
COPY deploy/docker/healthcheck.py /usr/local/lib/gaia/healthcheck.py
ENV PATH=/opt/gaia/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GAIA_DATA_DIR=/var/lib/gaia/data \
    GAIA_WALLET_PATH=/etc/gaia/wallets \
    XDG_CACHE_HOME=/var/cache/gaia \
    MPLCONFIGDIR=/var/cache/gaia/matplotlib
# A .env file in this folder is read at start and at SIGHUP.
WORKDIR /etc/gaia
USER 10001:10001
# So that a container whose root is read-only can write where it must, without further options.
VOLUME ["/var/lib/gaia", "/var/log/gaia", "/var/cache/gaia", "/tmp"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=6 \
    CMD ["python", "-IS", "/usr/local/lib/gaia/healthcheck.py"]

# ---- tools: every program, for rehearsals, replays and pictures -------------------------------------------------
FROM base AS tools
COPY --from=whole /opt/gaia /opt/gaia
COPY scripts /usr/local/share/gaia/scripts
COPY monitoring /usr/local/share/gaia/monitoring
HEALTHCHECK NONE
CMD ["gaia", "--help"]
ARG PYTHON_IMAGE
ARG VERSION=""
ARG COMMIT=""
ARG DATE=""
LABEL org.opencontainers.image.title="gaia-tools" \
    org.opencontainers.image.description="Programs around the Gaia validator, and its local subnet" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.base.name="${PYTHON_IMAGE}" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${COMMIT}" \
    org.opencontainers.image.created="${DATE}"

# ---- validator: the daemon, last so that it is built by default -------------------------------------------------
FROM base AS validator
COPY --from=slim /opt/gaia /opt/gaia
EXPOSE 9090
CMD ["python", "-m", "gaia.validator.validator"]
ARG PYTHON_IMAGE
ARG VERSION=""
ARG COMMIT=""
ARG DATE=""
LABEL org.opencontainers.image.title="gaia-validator" \
    org.opencontainers.image.description="Validator of the Gaia weather-forecasting subnet" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.base.name="${PYTHON_IMAGE}" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${COMMIT}" \
    org.opencontainers.image.created="${DATE}"
