#!/bin/sh
# Builds stand-in images of Redis and Postgres from this system's own packages, for machines that reach no registry:
#
#     sh scripts/offline-images.sh                    cacheproof-standin/redis and cacheproof-standin/postgres
#     sh scripts/offline-images.sh app PATH/cacheproof   and cacheproof-standin/app from a compiled cacheproof
#
# Each image holds the server's programs, the libraries they need, a shell, and an entrypoint that takes the
# arguments and variables of the official image. Tags: the major version, and latest. An image whose ingredients
# have not changed is left as it is.
set -eu

say() { printf '%s\n' "offline-images: $*"; }
die() { printf '%s\n' "offline-images: $*" >&2; exit 1; }

docker info >/dev/null 2>&1 || die "Docker does not answer: start it first (or use provider = \"local\", which needs no images)"

work=$(mktemp -d "${TMPDIR:-/tmp}/cacheproof-images.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

# ---- a root directory with programs and what they need ------------------------------------------------------------

# copy ROOT FILE: a file at the same path, with the target of every link on the way.
copy() {
    [ -e "$1$2" ] && return 0
    mkdir -p "$1$(dirname "$2")"
    cp -L "$2" "$1$2"
}

# libraries FILE…: the libraries that the dynamic loader would load.
libraries() {
    for file in "$@"; do
        ldd "$file" 2>/dev/null || true
    done | sed -n -e 's/.*=> \(\/[^ ]*\) .*/\1/p' -e 's/^[[:space:]]*\(\/[^ ]*\) (0x.*/\1/p' | sort -u
}

# install ROOT FILE…: programs or plugins with their libraries.
install() {
    root=$1
    shift
    for file in "$@"; do copy "$root" "$file"; done
    for library in $(libraries "$@"); do copy "$root" "$library"; done
}

# tool ROOT NAME…: commands into /bin.
tool() {
    root=$1
    shift
    for name in "$@"; do
        path=$(command -v "$name") || die "$name is missing on this system"
        mkdir -p "$root/bin"
        cp -L "$path" "$root/bin/$name"
        for library in $(libraries "$path"); do copy "$root" "$library"; done
    done
}

# base ROOT USER: what every image has.
base() {
    mkdir -p "$1/etc" "$1/tmp" "$1/bin" "$1/run" "$1/var" "$1/usr/local/bin"
    ln -s ../run "$1/var/run"
    chmod 1777 "$1/tmp"
    printf 'root:x:0:0:root:/root:/bin/sh\n%s:x:999:999::/var/lib/%s:/bin/sh\n' "$2" "$2" >"$1/etc/passwd"
    printf 'root:x:0:\n%s:x:999:\n' "$2" >"$1/etc/group"
    printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$1/etc/nsswitch.conf"
    # Resolving names is inside libc since glibc 2.34, in these files before.
    for library in /lib/*/libnss_dns.so.2 /lib/*/libnss_files.so.2 /lib64/libnss_dns.so.2 /lib64/libnss_files.so.2; do
        if [ -e "$library" ]; then copy "$1" "$library"; fi
    done
}

# same IMAGE INGREDIENTS: whether the image was built from exactly these.
same() {
    [ "$(docker image inspect --format '{{index .Config.Labels "cacheproof.ingredients"}}' "$1" 2>/dev/null)" = "$2" ]
}

# ingredients FILE…: a checksum of the files, this script and the system's release.
ingredients() {
    cat "$0" "$@" /etc/os-release 2>/dev/null | cksum | tr -d ' '
}

# import ROOT IMAGE TAG INGREDIENTS OWNED… -- CHANGE…: OWNED directories belong to the image's user.
import() {
    root=$1 image=$2 tag=$3 ingredients=$4
    shift 4
    tar -C "$root" --numeric-owner --owner=0 --group=0 -cf "$work/image.tar" .
    while [ "$1" != -- ]; do
        mkdir -p "$root/$1"
        chmod 755 "$root/$1"
        tar -C "$root" --numeric-owner --owner=999 --group=999 -rf "$work/image.tar" "./$1"
        shift
    done
    shift
    for change in "$@"; do printf '%s\n' "$change"; done >"$work/changes"
    set -- --change "LABEL cacheproof.ingredients=$ingredients"
    while IFS= read -r change; do set -- "$@" --change "$change"; done <"$work/changes"
    old=$(docker image inspect --format '{{.Id}}' "$image:latest" 2>/dev/null || true)
    docker import "$@" "$work/image.tar" "$image:$tag" >/dev/null
    docker tag "$image:$tag" "$image:latest"
    if [ -n "$old" ]; then docker image rm "$old" >/dev/null 2>&1 || true; fi
    rm -rf "$root" "$work/image.tar"
    say "built $image:$tag ($(docker image inspect --format '{{.Size}}' "$image:$tag" | awk '{printf "%d MB", $1 / 1000000}'))"
}

# ---- Redis --------------------------------------------------------------------------------------------------------

redis_image() {
    server=$(command -v redis-server) || die "redis-server is not installed: run sh scripts/setup.sh first"
    client=$(command -v redis-cli) || die "redis-cli is not installed: run sh scripts/setup.sh first"
    version=$("$server" --version | sed -n 's/.*v=\([0-9.]*\).*/\1/p')
    tag=${version%%.*}
    sum=$(ingredients "$server" "$client")
    if same "cacheproof-standin/redis:$tag" "$sum"; then
        say "cacheproof-standin/redis:$tag is there already"
        return
    fi
    root=$work/redis
    base "$root" redis
    tool "$root" sh rm redis-server redis-cli
    cat >"$root/usr/local/bin/docker-entrypoint.sh" <<'END'
#!/bin/sh
set -e
# Like the official image: options or a configuration file alone mean redis-server, and without a password it can
# be reached from other containers.
case ${1:-} in -* | *.conf) set -- redis-server "$@" ;; esac
if [ "${1:-}" = redis-server ]; then
    shift
    case ${1:--} in
    -*) set -- redis-server --protected-mode no "$@" ;;
    *) file=$1; shift; set -- redis-server "$file" --protected-mode no "$@" ;;
    esac
fi
exec "$@"
END
    chmod 755 "$root/usr/local/bin/docker-entrypoint.sh"
    import "$root" cacheproof-standin/redis "$tag" "$sum" data -- \
        'ENV PATH=/usr/local/bin:/usr/bin:/bin' "ENV REDIS_VERSION=$version" 'USER redis' 'WORKDIR /data' \
        'VOLUME /data' 'EXPOSE 6379' 'ENTRYPOINT ["/usr/local/bin/docker-entrypoint.sh"]' 'CMD ["redis-server"]'
}

# ---- Postgres -----------------------------------------------------------------------------------------------------

# The directory of the newest installed Postgres, one with initdb in it.
postgres_programs() {
    found=
    for place in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -t/ -k5 -n) /usr/local/pgsql/bin \
        "$(dirname "$(readlink -f "$(command -v postgres 2>/dev/null || echo /nowhere/postgres)")")" /usr/bin; do
        if [ -x "$place/postgres" ] && [ -x "$place/initdb" ]; then found=$place; fi
        case $found in /usr/lib/postgresql/*) ;; ?*) break ;; esac
    done
    [ -n "$found" ] || die "Postgres is not installed: run sh scripts/setup.sh first"
    printf '%s\n' "$found"
}

postgres_image() {
    programs=$(postgres_programs)
    version=$("$programs/postgres" --version | sed -n 's/^[^0-9]*\([0-9.]*\).*/\1/p')
    tag=${version%%.*}
    if [ -x "$programs/pg_config" ]; then config=$programs/pg_config; else config=pg_config; fi
    share=$("$config" --sharedir) || die "pg_config is missing: install Postgres' server package completely"
    plugins=$("$config" --pkglibdir)
    [ -e "$plugins/pg_stat_statements.so" ] || die "Postgres' contrib modules are missing: run sh scripts/setup.sh first"
    sum=$(ingredients "$programs/postgres" "$plugins/pg_stat_statements.so")
    if same "cacheproof-standin/postgres:$tag" "$sum"; then
        say "cacheproof-standin/postgres:$tag is there already"
        return
    fi
    root=$work/postgres
    base "$root" postgres
    tool "$root" sh cat chmod grep mkdir rm
    for program in postgres initdb pg_ctl psql pg_isready; do
        if [ -x "$programs/$program" ]; then install "$root" "$programs/$program"; else tool "$root" "$program"; fi
    done
    # Without the compiler plugin (it brings 100 MB of LLVM): Postgres does without it by itself.
    for plugin in plpgsql dict_snowball pg_stat_statements libpqwalreceiver; do
        if [ -e "$plugins/$plugin.so" ]; then install "$root" "$plugins/$plugin.so"; fi
    done
    mkdir -p "$root$share"
    (cd "$share" && tar --exclude=man --exclude=doc -chf - .) | tar -C "$root$share" -xf -
    for path in /usr/lib/locale/C.utf8 /usr/share/zoneinfo/UTC /usr/share/zoneinfo/Etc/UTC /usr/share/zoneinfo/GMT; do
        if [ -e "$path" ]; then
            mkdir -p "$root$(dirname "$path")"
            cp -RL "$path" "$root$path"
        fi
    done
    mkdir -p "$root/docker-entrypoint-initdb.d"
    postgres_entrypoint >"$root/usr/local/bin/docker-entrypoint.sh"
    chmod 755 "$root/usr/local/bin/docker-entrypoint.sh"
    import "$root" cacheproof-standin/postgres "$tag" "$sum" var/lib/postgresql var/lib/postgresql/data run/postgresql -- \
        "ENV PATH=$programs:/usr/local/bin:/usr/bin:/bin" 'ENV LANG=C.UTF-8' 'ENV PGDATA=/var/lib/postgresql/data' \
        "ENV PG_MAJOR=$tag" "ENV PG_VERSION=$version" 'USER postgres' 'VOLUME /var/lib/postgresql/data' 'EXPOSE 5432' \
        'ENTRYPOINT ["/usr/local/bin/docker-entrypoint.sh"]' 'CMD ["postgres"]'
}

postgres_entrypoint() {
    cat <<'END'
#!/bin/sh
set -e
# Takes the variables of the official image: POSTGRES_PASSWORD(_FILE), POSTGRES_USER, POSTGRES_DB, PGDATA,
# POSTGRES_INITDB_ARGS, POSTGRES_HOST_AUTH_METHOD; runs *.sql and *.sh in /docker-entrypoint-initdb.d once.
case ${1:-} in -*) set -- postgres "$@" ;; esac
if [ "${1:-}" != postgres ] || [ -s "$PGDATA/PG_VERSION" ]; then exec "$@"; fi

if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE"); fi
if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "${POSTGRES_HOST_AUTH_METHOD:-}" != trust ]; then
    echo "Error: Database is uninitialized and superuser password is not specified: set POSTGRES_PASSWORD" >&2
    exit 1
fi
user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

mkdir -p "$PGDATA"
chmod 700 "$PGDATA"
umask 077
printf '%s\n' "${POSTGRES_PASSWORD:-}" >/tmp/password
set_password=--pwfile=/tmp/password
if [ -z "${POSTGRES_PASSWORD:-}" ]; then set_password=; fi
# shellcheck disable=SC2086 # the arguments are words
initdb --username="$user" $set_password ${POSTGRES_INITDB_ARGS:-}
rm /tmp/password
printf "listen_addresses = '*'\n" >>"$PGDATA/postgresql.conf"
printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"

# The server is up for a while without the network, as in the official image.
shift
arguments=
for argument in "$@"; do arguments="$arguments '$argument'"; done
pg_ctl -D "$PGDATA" -o "$arguments -c listen_addresses=''" -w start
sql() { psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$user" "$@"; }
if [ "$database" != postgres ]; then
    sql --dbname postgres --set db="$database" <<'SQL'
CREATE DATABASE :"db";
SQL
fi
for file in /docker-entrypoint-initdb.d/*; do
    case $file in
    *.sql) sql --dbname "$database" -f "$file" ;;
    *.sh) . "$file" ;;
    esac
done
pg_ctl -D "$PGDATA" -m fast -w stop
echo "PostgreSQL init process complete; ready for start up."
exec postgres "$@"
END
}

# ---- the app ------------------------------------------------------------------------------------------------------

app_image() {
    [ -x "$1" ] || die "$1 is not a program: build it first with cargo build"
    sum=$(ingredients "$1")
    if same cacheproof-standin/app:latest "$sum"; then
        say "cacheproof-standin/app is there already"
        return
    fi
    root=$work/app
    base "$root" app
    cp -L "$1" "$root/usr/local/bin/cacheproof"
    for library in $(libraries "$1"); do copy "$root" "$library"; done
    import "$root" cacheproof-standin/app 0 "$sum" var/lib/app -- \
        'ENV PATH=/usr/local/bin:/usr/bin:/bin' 'USER app' 'WORKDIR /var/lib/app' 'EXPOSE 8080' \
        'ENTRYPOINT ["/usr/local/bin/cacheproof"]' 'CMD ["--help"]'
}

case ${1:-} in
'') redis_image; postgres_image ;;
app) redis_image; postgres_image; app_image "${2:?"say which: sh scripts/offline-images.sh app PATH/cacheproof"}" ;;
*) die "usage: sh scripts/offline-images.sh [app PATH/cacheproof]" ;;
esac
