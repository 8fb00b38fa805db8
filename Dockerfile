# Builds segue, and puts it alone into a small Debian, for a user without rights. Build it with any engine: docker build -t segue .
FROM rust:1.95.0-slim-trixie AS build
# The image's own toolchain: rust-toolchain.toml would have rustfmt and clippy fetched too.
ENV RUSTUP_TOOLCHAIN=1.95.0
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libssl-dev make pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin segue

FROM debian:trixie-slim
# The Kafka client speaks TLS by the system's OpenSSL, and trusts whom the system trusts.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3t64 \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o 65532 -g 65532 /var/lib/segue
COPY --from=build /src/target/release/segue /usr/local/bin/segue
ENV SEGUE_SERVER__LISTEN=0.0.0.0:8080 SEGUE_DATA__DIR=/var/lib/segue/data
EXPOSE 8080
VOLUME /var/lib/segue
# A number, so that Kubernetes sees that it is not root.
USER 65532:65532
ENTRYPOINT ["segue"]
CMD ["serve"]
