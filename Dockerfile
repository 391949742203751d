# The command `omm`, with the page and every kind of model. On a CPU:
#
#     docker build -t onlymymodel .
#     docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/photos" onlymymodel protect . --out protected ...
#
# On NVIDIA GPUs, with the CUDA that the driver supports:
#
#     docker build -t onlymymodel --build-arg TORCH=cu126 .
#     docker run --rm --gpus all ...
FROM python:3.12-slim AS build
RUN pip install --no-cache-dir uv
WORKDIR /src
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY onlymymodel onlymymodel
RUN uv build --wheel --out-dir /wheels

FROM python:3.12-slim
# a backend of `uv pip install --torch-backend`: cpu, cu126, ...
ARG TORCH=cpu
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir uv \
    && uv pip install --system --no-cache --torch-backend "$TORCH" "onlymymodel[app,audit,heif,onnx,sign] @ file://$(ls /wheels/*.whl)" \
    && rm -r /wheels \
    && useradd --create-home omm
USER omm
# downloaded weights; mount a volume to keep them
ENV HF_HOME=/home/omm/.cache/huggingface TORCH_HOME=/home/omm/.cache/torch
WORKDIR /photos
ENTRYPOINT ["omm"]
CMD ["--help"]
