#!/bin/sh
# Installs what cacheproof needs and this machine lacks; run it as often as you like:
#
#     sh scripts/setup.sh
#
# A C compiler and mold (link the program), redis-server and Postgres with its contrib modules (the servers under
# test), nginx (the foreign app in the tests), promtool (tests the alerts), just and cargo-nextest (run the commands).
# System packages come from apt, dnf or apk. No service is left running or enabled that was not before. Where
# Docker answers but can't have the official images, stand-in images are built from the installed servers.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "setup: $*"; }
has() { command -v "$1" >/dev/null 2>&1; }
missing= # what could not be installed, for the last word

lacks() {
    missing="$missing
  - $*"
}

if [ "$(uname -s)" != Linux ]; then
    say "cacheproof runs on Linux only: it reads /proc"
    exit 1
fi
if ! has cargo; then
    say "cargo is missing: install Rust from https://rustup.rs, then run this again"
    exit 1
fi

# ---- system packages ----------------------------------------------------------------------------------------------

has_postgres() {
    for place in /usr/lib/postgresql/*/bin /usr/local/pgsql/bin /usr/bin /usr/local/bin /usr/libexec/postgresql*; do
        if [ -x "$place/postgres" ] && [ -x "$place/initdb" ]; then return 0; fi
    done
    return 1
}

has_redis() {
    has redis-server || return 1
    # 7.0 or later
    [ "$(redis-server --version | sed -n 's/.*v=\([0-9]*\).*/\1/p')" -ge 7 ] 2>/dev/null
}

if has apt-get; then manager=apt
elif has dnf; then manager=dnf
elif has apk; then manager=apk
else manager=; fi

sudo=
if [ "$(id -u)" != 0 ] && has sudo; then sudo=sudo; fi

# package WHAT: its name with this package manager; nothing where there is none.
package() {
    case $manager:$1 in
    apt:cc) echo gcc libc6-dev ;;
    dnf:cc) echo gcc ;;
    apk:cc) echo build-base ;;
    apt:redis) echo redis-server ;;
    dnf:redis) if dnf -q info redis >/dev/null 2>&1; then echo redis; else echo valkey valkey-compat-redis; fi ;;
    apk:redis) echo redis ;;
    apt:postgres) echo postgresql ;;
    dnf:postgres) echo postgresql-server postgresql-contrib ;;
    apk:postgres) echo postgresql postgresql-contrib ;;
    *:nginx) echo nginx ;;
    apt:promtool | apk:promtool) echo prometheus ;;
    apt:mold | dnf:mold | apk:mold) echo mold ;;
    esac
}

wanted=
services=
want() { # want WHAT SERVICE…
    names=$(package "$1")
    if [ -z "$names" ]; then
        lacks "$1: install it by hand"
        return
    fi
    wanted="$wanted $names"
    shift
    # A service that is there already is the user's; only ones that come with the package are turned off again.
    for service in "$@"; do
        if has systemctl && ! systemctl cat "$service" >/dev/null 2>&1; then services="$services $service"; fi
    done
}

has cc || want cc
has_redis || want redis redis-server redis valkey
has_postgres || want postgres postgresql
has nginx || [ -x /usr/sbin/nginx ] || want nginx nginx
# Where no package has it, the test of the alerts passes by.
has promtool || [ -z "$(package promtool)" ] || want promtool prometheus
has mold || want mold

# Debian starts the services of what it installs. A policy that says no stops it from doing so; ours, for a moment.
policy=/usr/sbin/policy-rc.d
our_policy=
no_services() {
    if [ "$manager" = apt ] && [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
        $sudo chmod 755 "$policy"
        our_policy=yes
    fi
}
services_again() {
    if [ -n "$our_policy" ]; then $sudo rm -f "$policy"; fi
    our_policy=
}
trap services_again EXIT
trap 'exit 130' INT TERM HUP

install() {
    case $manager in
    apt) DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y --no-install-recommends "$@" ;;
    dnf) $sudo dnf install -y "$@" ;;
    apk) $sudo apk add "$@" ;;
    esac
}

if [ -n "$wanted" ]; then
    if [ -z "$manager" ]; then
        lacks "$wanted: no package manager that this script knows (apt, dnf, apk)"
    elif [ "$(id -u)" != 0 ] && [ -z "$sudo" ]; then
        lacks "$wanted: needs root and there is no sudo; as root, run this script, or install them by hand"
    else
        say "installing$wanted ($manager)"
        no_services
        if [ "$manager" = apt ]; then $sudo apt-get update -qq || say "apt-get update failed; trying with the lists that are here"; fi
        # Together first, one by one where that fails: one missing package must not keep the others away.
        # shellcheck disable=SC2086 # names are words
        install $wanted || for name in $wanted; do install "$name" || lacks "$name: $manager could not install it"; done
        services_again
        for service in $services; do
            $sudo systemctl disable --now --quiet "$service" 2>/dev/null || true
        done
    fi
else
    say "compiler, Redis, Postgres, nginx, promtool and linker are here"
fi

# ---- the linker ---------------------------------------------------------------------------------------------------

if [ -e .cargo/config.toml ]; then
    say ".cargo/config.toml is there already; left as it is"
elif has mold && echo 'int main(void) { return 0; }' | cc -x c - -fuse-ld=mold -o /dev/null 2>/dev/null; then
    mkdir -p .cargo
    cat >.cargo/config.toml <<END
# Written by scripts/setup.sh where mold is installed: it links this workspace in about a third of the time.
[target.$(rustc -vV | sed -n 's/^host: //p')]
rustflags = ["-C", "link-arg=-fuse-ld=mold"]
END
    say "links with mold from now on (.cargo/config.toml)"
fi

# ---- just and cargo-nextest ---------------------------------------------------------------------------------------

# A shim may be there without the program behind it.
runs() { "$@" --version >/dev/null 2>&1; }

install_just() {
    if [ "$manager" = apt ] && { [ "$(id -u)" = 0 ] || [ -n "$sudo" ]; } && apt-cache show just >/dev/null 2>&1; then
        say "installing just (apt)"
        if install just && runs just; then return; fi
    fi
    for pip in pip3 pip; do
        runs "$pip" || continue
        say "installing just ($pip)"
        if "$pip" install --quiet --disable-pip-version-check rust-just 2>/dev/null; then
            if has pyenv; then pyenv rehash; fi
            if runs just; then return; fi
            say "just is installed, but PATH does not lead to it; installing it for cargo as well"
        fi
        break
    done
    say "building just with cargo (a minute or two)"
    cargo install --locked --quiet just || true
}

if runs just; then say "just is here"; else
    install_just
    runs just || lacks "just: if cargo has installed it, put its directory on PATH (export PATH=\"\$HOME/.cargo/bin:\$PATH\"); else see https://just.systems"
fi

if runs cargo nextest; then say "cargo-nextest is here"; else
    say "building cargo-nextest with cargo (a few minutes)"
    cargo install --locked --quiet cargo-nextest || true
    runs cargo nextest || lacks "cargo-nextest: if cargo has installed it, put its directory on PATH; else see https://nexte.st"
fi

# ---- images -------------------------------------------------------------------------------------------------------

# bounded SECONDS COMMAND…: a registry that can't be reached may hang for minutes.
bounded() {
    limit=$1
    shift
    "$@" >/dev/null 2>&1 &
    child=$!
    while kill -0 "$child" 2>/dev/null && [ "$limit" -gt 0 ]; do
        sleep 1
        limit=$((limit - 1))
    done
    kill "$child" 2>/dev/null || true
    wait "$child" 2>/dev/null
}

images() {
    for image in redis:7 postgres:17; do
        docker image inspect "$image" >/dev/null 2>&1 && continue
        say "pulling image $image"
        bounded 15 docker manifest inspect "$image" && bounded 600 docker pull "$image" || return 1
    done
}

if ! has docker || ! bounded 10 docker info; then
    say "Docker does not answer: servers run as local processes"
elif images; then
    say "Docker has the official images"
else
    say "Docker can't have the official images: building stand-ins"
    sh scripts/offline-images.sh || lacks "stand-in images: see the message above (only the container provider needs them)"
fi

if [ -n "$missing" ]; then
    say "still missing:$missing"
    exit 1
fi
say "done: just bench, just test"
