# The proxy and nothing else: docker build --tag reprise .

FROM python:3.11.16-slim-trixie AS build

# An environment without pip: the installer works from outside, and nothing that builds is left in.
WORKDIR /build
COPY requirements.txt ./
RUN python -m venv --without-pip /opt/reprise \
    && python -m pip --python /opt/reprise/bin/python install --no-cache-dir --no-deps \
        --only-binary=:all: --requirement requirements.txt
COPY LICENSE README.md pyproject.toml ./
COPY app ./app
RUN python -m pip --python /opt/reprise/bin/python install --no-cache-dir --no-deps . \
    && python -m pip --python /opt/reprise/bin/python check


FROM python:3.11.16-slim-trixie

RUN python -m pip uninstall --yes --quiet --root-user-action=ignore setuptools wheel pip \
    && groupadd --gid 10001 reprise \
    && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home \
        --shell /usr/sbin/nologin reprise \
    && install --directory --owner=10001 --group=10001 --mode=0750 /data
COPY --from=build /opt/reprise /opt/reprise

ENV PATH=/opt/reprise/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    REPRISE_HOST=0.0.0.0

# What is to survive, such as sqlite:////data/reprise.db; a .env file here is read.
WORKDIR /data
VOLUME ["/data"]
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# Past any proxy that the environment names.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + (os.environ.get('REPRISE_PORT') or '8000') + '/healthz', timeout=4)"]
CMD ["reprise", "serve"]
